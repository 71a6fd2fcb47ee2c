"""Read the exported events and write a bundle: functions of all exporters. Needs numpy, scipy, pandas and pyarrow."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp

SAMPLE = int(
    os.environ.get("EXPORTED_USERS", "200")
)  # users whose own lists are exported, to be compared
LISTED = 50


def absolute(path: str) -> Path:
    """The path, whatever folder a library works in."""
    return Path(path).absolute()


def arguments(models: list[str]) -> argparse.Namespace:
    """Folder of ``make export-events``, folder of the bundle, and which model."""
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "events", type=absolute, help="the folder that `make export-events` wrote"
    )
    parser.add_argument("bundle", type=absolute, help="the folder to write")
    parser.add_argument("--model", choices=models, default=models[0])
    given = parser.parse_args()
    del sys.argv[1:]  # RecBole reads settings there
    return given


def parts(given: argparse.Namespace) -> list[tuple[pd.DataFrame, Path]]:
    """The events to fit on and the folder to write: all of them, and the part behind the ranker's training lists."""
    return [
        (pd.read_parquet(given.events / "events.parquet"), given.bundle),
        (
            pd.read_parquet(given.events / "events-training.parquet"),
            given.bundle / "training",
        ),
    ]


def matrix(events: pd.DataFrame) -> tuple[sp.csr_matrix, np.ndarray, np.ndarray]:
    """1 where a user had an item: (users, items), with the ids of its rows and columns."""
    users, rows = np.unique(events["user"], return_inverse=True)
    items, columns = np.unique(events["item"], return_inverse=True)
    seen = sp.csr_matrix(
        (np.ones(len(rows), np.float32), (rows, columns)),
        shape=(len(users), len(items)),
    )
    seen.data[:] = 1
    return seen, users, items


def sample(users: np.ndarray) -> np.ndarray:
    """Rows of some users."""
    return np.sort(
        np.random.default_rng(0).choice(
            len(users), min(SAMPLE, len(users)), replace=False
        )
    )


def write(
    folder: Path,
    name: str,
    kind: str,
    library: str,
    similarity: str = "dot",
    events: int | None = None,
    **tables: object,
) -> None:
    """Write the bundle: a DataFrame as <name>.parquet, a sparse matrix as <name>.npz. ``events``: rows trained on."""
    folder.mkdir(parents=True, exist_ok=True)
    about = {
        "name": name,
        "kind": kind,
        "library": library,
        "similarity": similarity,
        "events": events,
    }
    lines = [
        f"{key} = {json.dumps(value)}\n"
        for key, value in about.items()
        if value is not None
    ]
    (folder / "model.toml").write_text("".join(lines), "utf-8")
    for key, table in tables.items():
        if isinstance(table, pd.DataFrame):
            table.to_parquet(folder / f"{key}.parquet", index=False)
        else:
            sp.save_npz(folder / f"{key}.npz", sp.csr_matrix(table))


def vectors(
    ids: np.ndarray, rows: np.ndarray | None = None, bias: np.ndarray | None = None
) -> pd.DataFrame:
    """A table of ids, with their vectors and biases where there are any."""
    table = pd.DataFrame({"id": ids})
    if rows is not None:
        table["vector"] = list(np.asarray(rows, np.float32))
    if bias is not None:
        table["bias"] = np.asarray(bias, np.float32)
    return table


def best_unseen(scores: np.ndarray, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places of a user's best items, best first, and their scores. ``seen``: places of those that are left out."""
    scores = np.array(scores, np.float64)
    scores[seen] = -np.inf
    places = np.argsort(-scores, kind="stable")[: min(LISTED, len(scores) - len(seen))]
    return places, scores[places]


def lists(
    users: np.ndarray, items: list[np.ndarray], scores: list[np.ndarray]
) -> pd.DataFrame:
    """The library's own lists."""
    return pd.DataFrame(
        {
            "id": users,
            "items": [list(row) for row in items],
            "scores": [list(map(float, row)) for row in scores],
        }
    )
