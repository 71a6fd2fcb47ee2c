"""Train one model of RecTools or implicit and recommend: runs in an environment of its own, and imports nothing of this
repository.

Reads:  job.json (`model`, `setting`, `size`), events.npz (events of all users; `known`, how many of them each user's
        request sees)
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
import pandas as pd
from rectools import Columns
from rectools.dataset import Dataset


def build(model: str, setting: dict[str, Any]) -> Any:
    """Build an untrained model."""
    if model == "iALS":
        from implicit.als import AlternatingLeastSquares
        from rectools.models import ImplicitALSWrapperModel

        return ImplicitALSWrapperModel(AlternatingLeastSquares(**setting, random_state=0, num_threads=1))
    if model == "item-kNN":
        from implicit.nearest_neighbours import BM25Recommender
        from rectools.models import ImplicitItemKNNWrapperModel

        return ImplicitItemKNNWrapperModel(BM25Recommender(**setting, num_threads=1))
    raise ValueError(f"unknown model {model!r}")


def main(folder: Path) -> None:
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    with np.load(folder / "events.npz") as file:
        events = dict(file)
    lengths = np.diff(events["starts"])
    users = np.repeat(np.arange(len(lengths)), lengths)
    position = np.arange(len(users)) - np.repeat(events["starts"][:-1], lengths)
    table = pd.DataFrame(
        {
            Columns.User: users,
            Columns.Item: events["items"],
            Columns.Weight: np.float32(1),
            Columns.Datetime: events["times"].astype("datetime64[s]").astype("datetime64[ns]"),
        }
    )
    seen = table[position < events["known"][users]]  # what requests see
    dataset, begin = Dataset.construct(seen), time.process_time()
    model = build(job["model"], job["setting"])
    model.fit(dataset)
    seconds = time.process_time() - begin
    shown = model.recommend(np.unique(seen[Columns.User]), dataset, k=job["size"], filter_viewed=True)
    lists = np.zeros((len(lengths), job["size"]), np.int64)
    lists[shown[Columns.User], shown[Columns.Rank] - 1] = shown[Columns.Item]
    part = folder / ".lists.npz"
    np.savez_compressed(part, lists=lists, seconds=seconds)
    part.replace(folder / "lists.npz")


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    main(Path(sys.argv[1]))
