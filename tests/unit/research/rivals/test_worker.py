"""The worker of rivals, with a stand-in for the library of its environment."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from research.rivals.contest import WORKER


class Heaviest:
    """Recommends the two items after the heaviest of the request; user 2 gets one, the rest is padding."""

    fitted: csr_matrix

    def __init__(self, **setting: Any) -> None:
        assert setting == {"K": 5, "num_threads": 1}

    def fit(self, weights: csr_matrix, show_progress: bool) -> None:
        Heaviest.fitted = weights

    def recommend(self, users: np.ndarray, request: csr_matrix, **given: Any) -> Any:
        assert given == {"N": 3, "filter_items": [0]}
        first = np.asarray(request.argmax(axis=1)).ravel() + 1
        codes = np.stack([first, first + 1], axis=1)
        scores = np.ones(codes.shape, np.float32)
        scores[users == 2, 1] = np.finfo(np.float32).min
        return codes, scores


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Any:
    als, neighbours = (
        ModuleType("implicit.als"),
        ModuleType("implicit.nearest_neighbours"),
    )
    als.AlternatingLeastSquares = None  # type: ignore[attr-defined]
    neighbours.BM25Recommender = Heaviest  # type: ignore[attr-defined]
    for module in (ModuleType("implicit"), als, neighbours):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    spec = importlib.util.spec_from_file_location("rivals_worker", WORKER)
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def job(folder: Path, model: str) -> None:
    np.savez(
        folder / "events.npz",
        users=np.array([0, 0, 2]),
        items=np.array([1, 2, 4]),
        weights=np.array([1.0, 0.5, 1.0]),
        request=np.array([0.2, 0.5, 1.0]),
        shape=np.array([3, 7]),
    )
    (folder / "job.json").write_text(
        json.dumps({"model": model, "setting": {"K": 5}, "size": 3}), encoding="utf-8"
    )


def test_training_and_request_have_own_weights(worker: Any, tmp_path: Path) -> None:
    job(tmp_path, "item-kNN")
    worker.main(tmp_path)
    assert Heaviest.fitted[0].toarray().tolist() == [[0, 1.0, 0.5, 0, 0, 0, 0]]
    with np.load(tmp_path / "lists.npz") as found:
        assert found["lists"].tolist() == [
            [3, 4, 0],
            [0, 0, 0],
            [5, 0, 0],
        ]  # no list without events, no item below 0
        assert found["seconds"] >= 0


def test_ease_recommends_what_is_liked_together(worker: Any) -> None:
    model = worker.Ease(l2=0.1)
    model.fit(
        csr_matrix(np.array([[0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 1]], np.float32)),
        show_progress=False,
    )
    codes, scores = model.recommend(
        np.array([0]), csr_matrix(np.array([[0, 1, 0, 0]], np.float32)), 3, [0]
    )
    assert codes[0, 0] == 2
    assert scores[0, 0] > scores[0, 1]
    assert not np.isfinite(
        scores[0, 2]
    )  # neither what the user had, nor an item to leave out


def test_unknown_models_are_refused(worker: Any, tmp_path: Path) -> None:
    job(tmp_path, "none")
    with pytest.raises(ValueError, match="unknown model"):
        worker.main(tmp_path)
