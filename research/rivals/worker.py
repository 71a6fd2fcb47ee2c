"""Train EASE or a model of implicit, and recommend: in an environment of its own, without imports of this repository.

Reads:  job.json (`model`, `setting`, `size`), events.npz: `users`, `items`, `weights` of the events in training, and
        in the `request`; `shape`, (users, items + 1)
Writes: lists.npz: `lists`, (users, size) codes, 0 pads; `seconds` of processor time of the training
Run:    uv run --no-project --with-requirements requirements.txt python worker.py <folder>
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from implicit.als import AlternatingLeastSquares
from implicit.nearest_neighbours import BM25Recommender
from scipy.sparse import csr_matrix


class Ease:
    """EASE (Steck 2019) in full: linear item-item weights, solved."""

    def __init__(self, l2: float) -> None:
        self.l2 = l2

    def fit(self, weights: csr_matrix, show_progress: bool) -> None:
        gram = (weights.T @ weights).toarray().astype(np.float64)
        inverse = np.linalg.inv(gram + self.l2 * np.eye(len(gram)))
        self.items = (inverse / -np.diag(inverse)).astype(np.float32)
        np.fill_diagonal(self.items, 0)

    def recommend(
        self,
        users: Any,
        request: csr_matrix,
        N: int,  # noqa: N803
        filter_items: list[int],
    ) -> tuple[Any, Any]:
        scores = request @ self.items
        scores[request.nonzero()] = scores[:, filter_items] = -np.inf
        codes = np.argsort(-scores, axis=1, kind="stable")[:, :N]
        return codes, np.take_along_axis(scores, codes, axis=1)


def main(folder: Path) -> None:
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    with np.load(folder / "events.npz") as file:
        events = dict(file)

    def matrix(weights: Any) -> csr_matrix:
        places = events["users"], events["items"]
        return csr_matrix(
            (weights.astype(np.float32), places), shape=tuple(events["shape"])
        )

    begin, more = time.process_time(), {}
    if job["model"] == "iALS":
        model = AlternatingLeastSquares(**job["setting"], random_state=0, num_threads=1)
        more = {"recalculate_user": True}
    elif job["model"] == "item-kNN":
        model = BM25Recommender(**job["setting"], num_threads=1)
    elif job["model"] == "EASE":
        model = Ease(**job["setting"])
    else:
        raise ValueError(f"unknown model {job['model']!r}")
    model.fit(matrix(events["weights"]), show_progress=False)
    seconds = time.process_time() - begin
    users, request = np.unique(events["users"]), matrix(events["request"])
    codes, scores = model.recommend(
        users, request[users], N=job["size"], filter_items=[0], **more
    )
    lists = np.zeros((events["shape"][0], job["size"]), np.int64)
    lists[users, : codes.shape[1]] = np.where(
        (codes > 0) & (scores > np.finfo(np.float32).min), codes, 0
    )
    part = folder / ".lists.npz"
    np.savez_compressed(part, lists=lists, seconds=seconds)
    part.replace(folder / "lists.npz")


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    main(Path(sys.argv[1]))
