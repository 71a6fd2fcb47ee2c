"""New items, left out of a training and placed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from data_exchange_center.settings import Settings
from research.measure import new_items
from research.measure.new_items import liked_before
from tests.unit.offline.data.ratings import events_of
from tests.unit.offline.synthetic import made_up_movielens, run_steps


def test_likes_name_known_items_liked_before() -> None:
    data = events_of([[1, 2, 3, 4], [2, 3, 1], [3]], [[5, 1, 5, 5], [5, 5, 5], [5]], n_items=4)
    found = liked_before(data, np.array([3]), most=5)  # item 2 is disliked by the first user, the third had none
    assert [[each.tolist() for each in of_item] for of_item in found] == [[[1], [2]]]


def test_new_items_by_likes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(new_items, "LEAST", 3)
    data = made_up_movielens(tmp_path / "data")
    settings = run_steps(Settings(data=data, exchange_dir=tmp_path / "exchange"), 2)
    new_items.main(settings, items=8)
    (path,) = (settings.offline_dir / "evaluation").glob("new_items*.json")
    found = json.loads(path.read_text(encoding="utf-8"))
    assert found["items"] > 1
    assert found["measured"]["finished"] is False, "fewer items than the study has"
    systems = found["systems"]
    assert {"0 likes", "10 likes", "popular, 0 likes", new_items.LEARNED} <= set(systems)
    assert systems["popular, 0 likes"]["recall@50"]["mean"] <= systems["popular, 10 likes"]["recall@50"]["mean"]
