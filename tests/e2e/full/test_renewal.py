"""`make renew` while a service dies in its middle: the live release answers on, and the next renewal resumes. Data and
recipes that are refused: ``tests/unit/extras/renew``."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.road import DEMO_SECONDS, Road


def renew(road: Road, **variables: str) -> str:
    """What `make renew` prints."""
    return replace(road, env={**road.env, **variables}).run("make", "renew", seconds=DEMO_SECONDS).stdout


def report(road: Road) -> dict[str, Any]:
    path = road.settings.service_dir("renewal") / "report.json"
    return dict(json.loads(path.read_text(encoding="utf-8")))


def test_a_service_that_dies_in_the_middle(road: Road, tmp_path: Path) -> None:
    """The candidate is the live release under another recipe's name, so it is as good."""
    before = road.recommend(1).json()
    path = tmp_path / "twin.json"
    path.write_text(road.settings.recipe.model_copy(update={"name": "twin"}).model_dump_json(), encoding="utf-8")
    with road.artifacts_kept():
        road.stack("down", "triton")
        try:
            printed = renew(road, RECSYS_RECIPE=str(path))
            assert "the live release answers on" in printed, printed
            assert road.recommend(1, strict=False).json()["release"] == before["release"]
        finally:
            road.stack("up", "triton")
        gate = report(road)["gate"]
        assert gate["all"]["difference"] == pytest.approx(0, abs=1e-3)
        printed = renew(road, RECSYS_RECIPE=str(path))
        assert '"verdict": "activated"' in printed, printed
        assert "=== offline/" not in printed  # nothing is trained again
        assert road.wait_for_release(report(road)["candidate"])
        road.go_back(before["release"])
