"""The worker of rivals, with a stand-in for the library of its environment."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from research.rivals.contest import WORKER

COLUMNS = SimpleNamespace(User="user_id", Item="item_id", Weight="weight", Datetime="datetime", Rank="rank")


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Any:
    library, dataset = ModuleType("rectools"), ModuleType("rectools.dataset")
    library.Columns = COLUMNS  # type: ignore[attr-defined]
    dataset.Dataset = SimpleNamespace(construct=lambda table: table)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "rectools", library)
    monkeypatch.setitem(sys.modules, "rectools.dataset", dataset)
    spec = importlib.util.spec_from_file_location("rivals_worker", WORKER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Newest:
    """Recommends to each user the item after the newest one that it was fitted on."""

    def fit(self, table: pd.DataFrame) -> None:
        self.newest = table.groupby(COLUMNS.User)[COLUMNS.Item].last()

    def recommend(self, users: np.ndarray, table: pd.DataFrame, k: int, filter_viewed: bool) -> pd.DataFrame:
        assert filter_viewed
        columns = {COLUMNS.User: users, COLUMNS.Item: self.newest[users].to_numpy() + 1, COLUMNS.Rank: 1}
        return pd.DataFrame(columns)


def test_models_see_what_requests_know(worker: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "build", lambda model, setting: Newest())
    np.savez(
        tmp_path / "events.npz",
        starts=np.array([0, 3, 3, 5]),
        items=np.array([1, 2, 3, 5, 6]),
        times=np.arange(5),
        known=np.array([2, 0, 2]),  # the first user's last event is not known
    )
    (tmp_path / "job.json").write_text(json.dumps({"model": "any", "setting": {}, "size": 2}), encoding="utf-8")
    worker.main(tmp_path)
    with np.load(tmp_path / "lists.npz") as found:
        assert found["lists"].tolist() == [[3, 0], [0, 0], [7, 0]]
        assert found["seconds"] >= 0


def test_unknown_models_are_refused(worker: Any) -> None:
    with pytest.raises(ValueError, match="unknown model"):
        worker.build("none", {})
