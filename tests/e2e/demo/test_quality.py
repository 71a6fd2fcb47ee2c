"""The recommendations of the demo's artifacts are good: between the floors and ceilings of MovieLens-100K."""

from __future__ import annotations

import pytest

from offline.evaluation import evaluate, report
from tests.e2e.road import Road


def test_the_artifacts_recommend_as_well_as_they_did(road: Road, monkeypatch: pytest.MonkeyPatch) -> None:
    """Checks of ``make evaluate-offline``. That they catch bugs: ``tests/e2e/full/test_planted_bugs.py``."""
    monkeypatch.setattr(evaluate, "later", lambda _: {})  # nothing is checked of the lists at other times
    found = evaluate.evaluate(road.settings, "make evaluate-offline")
    assert found["dataset"] == "ml-100k"
    report.check(found)
