"""Train one model of implicit and recommend: runs in an environment of its own, and imports nothing of this repository.

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


def main(folder: Path) -> None:
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    with np.load(folder / "events.npz") as file:
        events = dict(file)

    def matrix(weights: Any) -> csr_matrix:
        places = events["users"], events["items"]
        return csr_matrix((weights.astype(np.float32), places), shape=tuple(events["shape"]))

    begin, more = time.process_time(), {}
    if job["model"] == "iALS":
        model = AlternatingLeastSquares(**job["setting"], random_state=0, num_threads=1)
        more = {"recalculate_user": True}
    elif job["model"] == "item-kNN":
        model = BM25Recommender(**job["setting"], num_threads=1)
    else:
        raise ValueError(f"unknown model {job['model']!r}")
    model.fit(matrix(events["weights"]), show_progress=False)
    seconds = time.process_time() - begin
    users, request = np.unique(events["users"]), matrix(events["request"])
    codes, scores = model.recommend(users, request[users], N=job["size"], filter_items=[0], **more)
    lists = np.zeros((events["shape"][0], job["size"]), np.int64)
    lists[users, : codes.shape[1]] = np.where((codes > 0) & (scores > np.finfo(np.float32).min), codes, 0)
    part = folder / ".lists.npz"
    np.savez_compressed(part, lists=lists, seconds=seconds)
    part.replace(folder / "lists.npz")


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    main(Path(sys.argv[1]))
