"""`make renew` while a service dies in its middle: the live release answers on, and the next renewal resumes. Data and
recipes that are refused: ``tests/unit/extras/renew``."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.pipeline import DEMO_SECONDS, Pipeline


def renew(pipeline: Pipeline, **variables: str) -> str:
    """What `make renew` prints."""
    return replace(pipeline, env={**pipeline.env, **variables}).run("make", "renew", seconds=DEMO_SECONDS).stdout


def report(pipeline: Pipeline) -> dict[str, Any]:
    path = pipeline.settings.service_dir("renewal") / "report.json"
    return dict(json.loads(path.read_text(encoding="utf-8")))


def test_a_service_that_dies_in_the_middle(pipeline: Pipeline, tmp_path: Path) -> None:
    """The candidate is the live release under another recipe's name, so it is as good."""
    before = pipeline.recommend(1).json()
    path = tmp_path / "twin.json"
    path.write_text(pipeline.settings.recipe.model_copy(update={"name": "twin"}).model_dump_json(), encoding="utf-8")
    with pipeline.artifacts_kept():
        pipeline.stack("down", "triton")
        try:
            printed = renew(pipeline, RECSYS_RECIPE=str(path))
            assert "the live release answers on" in printed, printed
            assert pipeline.recommend(1, strict=False).json()["release"] == before["release"]
        finally:
            pipeline.stack("up", "triton")
        gate = report(pipeline)["gate"]
        assert gate["all"]["difference"] == pytest.approx(0, abs=5e-3)  # it was not fitted on the events held back
        printed = renew(pipeline, RECSYS_RECIPE=str(path))
        assert '"verdict": "activated"' in printed, printed
        assert "=== offline/" not in printed  # nothing is trained again
        assert pipeline.wait_for_release(report(pipeline)["candidate"])
        pipeline.activate(before["release"])
