"""`make renew` while a service dies in its middle: the live release answers on, and the next renewal trains again.

Data and recipes that are refused: ``tests/unit/extras/renew``; with a canary: test_longest.py.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.pipeline import DEMO_SECONDS, Pipeline


def renew(pipeline: Pipeline, *arguments: str, **variables: str) -> str:
    """What `make renew` prints."""
    here = replace(pipeline, env={**pipeline.env, **variables})
    return here.run("make", "renew", *arguments, seconds=DEMO_SECONDS).stdout


def report(pipeline: Pipeline) -> dict[str, Any]:
    path = pipeline.settings.service_dir("renewal") / "report.json"
    return dict(json.loads(path.read_text(encoding="utf-8")))


def twin(pipeline: Pipeline, folder: Path, name: str = "twin") -> str:
    """The live release's recipe under another name: its releases are as good."""
    path = folder / f"{name}.json"
    path.write_text(
        pipeline.settings.recipe.model_copy(update={"name": name}).model_dump_json(),
        encoding="utf-8",
    )
    return str(path)


def test_a_service_that_dies_in_the_middle(pipeline: Pipeline, tmp_path: Path) -> None:
    before, recipe = pipeline.recommend(1).json(), twin(pipeline, tmp_path)
    with pipeline.artifacts_kept():
        pipeline.stack("down", "triton")
        try:
            printed = renew(pipeline, RECSYS_RECIPE=recipe)
            assert "the live release answers on" in printed, printed
            assert (
                pipeline.recommend(1, strict=False).json()["release"]
                == before["release"]
            )
        finally:
            pipeline.stack("up", "triton")
        gate = report(pipeline)["gate"]
        # it was not fitted on the events held back
        assert gate["all"]["difference"] == pytest.approx(0, abs=5e-3)
        printed = renew(pipeline, RECSYS_RECIPE=recipe)
        assert '"verdict": "activated"' in printed, printed
        assert pipeline.wait_for_release(report(pipeline)["candidate"])
        pipeline.activate(before["release"])
