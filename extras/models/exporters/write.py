"""Read the exported events and write a bundle: functions of all exporters. Needs numpy, pandas and pyarrow."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import numpy as np
import pandas as pd

# users whose own lists are exported, to be compared
SAMPLE = int(os.environ.get("EXPORTED_USERS", "200"))
LISTED = 50


def arguments(models: list[str], **sizes: int) -> argparse.Namespace:
    """Folder of ``make export-events``, folder of the bundle, which model, and --<size> of each of ``sizes``."""
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "events", type=Path, help="the folder that `make export-events` wrote"
    )
    parser.add_argument("bundle", type=Path, help="the folder to write")
    parser.add_argument("--model", choices=models, default=models[0])
    for name, default in sizes.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    return parser.parse_args()


def events_of(given: argparse.Namespace) -> pd.DataFrame:
    """The events to fit on."""
    return pd.read_parquet(given.events / "events.parquet")


def sample(users: np.ndarray) -> np.ndarray:
    """Rows of some users."""
    size = min(SAMPLE, len(users))
    return np.sort(np.random.default_rng(0).choice(len(users), size, replace=False))


def write(folder: Path, about: dict[str, object], **tables: pd.DataFrame) -> None:
    """Write the bundle: model.toml, and each table as <name>.parquet."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [f"{key} = {json.dumps(value)}\n" for key, value in about.items()]
    (folder / "model.toml").write_text("".join(lines), "utf-8")
    for key, table in tables.items():
        table.to_parquet(folder / f"{key}.parquet", index=False)


def vectors(ids: np.ndarray, rows: np.ndarray) -> pd.DataFrame:
    """A table of ids with their vectors."""
    return pd.DataFrame({"id": ids, "vector": list(np.asarray(rows, np.float32))})


def lists(
    users: np.ndarray, items: list[np.ndarray], scores: list[np.ndarray]
) -> pd.DataFrame:
    """The library's own lists."""
    of_users = [list(map(float, row)) for row in scores]
    return pd.DataFrame({"id": users, "items": map(list, items), "scores": of_users})


def lists_of(table: pd.DataFrame) -> pd.DataFrame:
    """The library's own lists, from RecTools' table of user_id, item_id and score."""
    by = table.groupby("user_id", sort=False).agg(list)
    return lists(by.index, by["item_id"], by["score"])
