"""The comparison of the recipe `sequence` with the default."""

from __future__ import annotations

import json
from typing import Any

import pytest

from data_exchange_center.settings import Settings
from research.measure import sequence
from research.measure.sequence import PROTOCOLS
from tests.unit.offline.models.test_stages import RECIPE


def row(*_: object) -> dict[str, Any]:
    metrics = {"recall@50": 0.5, "recall@200": 0.75, "ndcg@50": 0.25}
    return {"users": 3, "seconds": 90.0, "channel sequence": metrics, "recall": metrics, "ranked": metrics}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_each_list_is_measured_in_each_protocol(released: Settings, protocol: str) -> None:
    recall = RECIPE.recall.model_copy(update={"candidates": 60})
    found = sequence.one(released, protocol, RECIPE.model_copy(update={"recall": recall}))
    assert found["users"] > 0
    assert found["seconds"] > 0
    lists = {f"channel {channel.name}" for channel in RECIPE.recall.channels} | {"recall", "ranked"}
    assert {name for name, value in found.items() if isinstance(value, dict)} == lists
    metric = "hr@50" if protocol == sequence.PAPERS else "recall@50"
    assert all(0 <= found[name][metric] <= 1 for name in lists)


def test_an_interrupted_comparison_resumes(released: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[tuple[str, str]] = []
    monkeypatch.setattr(sequence, "one", lambda _, protocol, recipe: done.append((protocol, recipe.name)) or row())
    sequence.main(released, only=PROTOCOLS[:1])
    sequence.main(released)
    assert len(done) == len(set(done)) == 2 * len(PROTOCOLS)
    (path,) = (released.offline_dir / "evaluation").glob("sequence*.json")
    found = json.loads(path.read_text("utf-8"))
    assert "finished" not in found["measured"]
    table = sequence.recommendations.sequence(found)
    assert "`sequence`: ranked" in table
    assert "1.5 min" in table
