"""A minute and a half of `make soak`: requests, release switches, and no process that grows."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.e2e.pipeline import Pipeline

# A busy machine keeps up with that. In minutes the heaps of fresh processes still fill; half as much again is a leak.
OPTIONS = "--rate 10 --switch-every 15 --grows-at-most 1.5 --slow"
PATIENT = {"RECSYS_SERVER__BUDGET_MS": "5000"}


@pytest.mark.timeout(1_500)
def test_nothing_grows_while_releases_take_turns(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    figures = tmp_path / "soak.json"
    before = pipeline.recommend(1).json()["release"]
    patient = replace(pipeline, env={**pipeline.env, **PATIENT})
    try:
        assert patient.run("make", "serve").returncode == 0
        done = patient.run(
            "make",
            "soak",
            "minutes=2.5",
            f"options={OPTIONS} --output {figures}",
            seconds=1_400,
        )
    finally:
        pipeline.run("make", "serve")
    assert done.returncode == 0, done.stdout
    found = json.loads(figures.read_text())
    assert found["holds"]
    assert found["switches"] >= 4
    assert found["errors"] == {}
    assert len(found["releases"]) == 2
    assert {each["process"].split()[0] for each in found["processes"]} == {
        "server",
        "redis",
        "elasticsearch",
        "feast",
        "triton",
    }
    assert pipeline.wait_for_release(before)["release"] == before
