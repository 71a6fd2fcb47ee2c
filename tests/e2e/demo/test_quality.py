"""The recommendations of the demo's artifacts are good: between the floors and ceilings of MovieLens-100K."""

from __future__ import annotations

from offline.evaluation import evaluate, report
from tests.e2e.road import Road


def test_the_artifacts_recommend_as_well_as_they_did(road: Road) -> None:
    """Checks of ``make evaluate-offline``. That they catch bugs: ``tests/e2e/full/test_planted_bugs.py``."""
    found = evaluate.evaluate(road.settings, "make evaluate-offline")
    assert found["dataset"] == "ml-100k"
    report.check(found)
