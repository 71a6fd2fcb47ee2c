"""Bundles of random numbers, with the lists that they give, and ways to break them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp

from data_exchange_center.settings import Settings
from tests.unit.extras.models import encoders

Change = Callable[[Path], None]


def events(data: Settings, name: str = "events") -> pd.DataFrame:
    """What the fixture ``data`` has exported."""
    return pd.read_parquet(data.exchange_dir.parent / "events" / f"{name}.parquet")


def written(folder: Path, kind: str, rows: pd.DataFrame, seed: int = 0) -> Path:
    """Write a bundle of a kind."""
    if kind == "encoder":
        return encoders.written(folder, rows, seed)
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    users, items = np.unique(rows["user"]), rng.permutation(np.unique(rows["item"]))
    counts = pd.crosstab(rows["user"], rows["item"])
    seen = counts.reindex(index=users, columns=items).to_numpy() > 0
    table = pd.DataFrame({"id": items})
    if kind == "vectors":
        of_users = rng.normal(size=(len(users), 5))
        of_items = rng.normal(size=(len(items), 5))
        scores = of_users @ of_items.T
        table["vector"] = list(of_items)
        of_users = pd.DataFrame({"id": users, "vector": list(of_users)})
        of_users.to_parquet(folder / "users.parquet")
    else:
        shape = (len(items), len(items))
        weights = sp.random(*shape, density=0.6, random_state=seed, format="csr")
        scores = seen @ weights.toarray()
        sp.save_npz(folder / "weights.npz", weights)
    table.to_parquet(folder / "items.parquet")
    listed = ~seen & (scores != 0)
    encoders.write_lists(folder, users, items, np.where(listed, scores, -np.inf))
    text = f'name = "mine"\nkind = "{kind}"\nlibrary = "made up"\n'
    (folder / "model.toml").write_text(text, encoding="utf-8")
    return folder


def with_training(folder: Path, kind: str, data: Settings) -> Path:
    """A bundle with another model in training/."""
    written(folder, kind, events(data))
    written(folder / "training", kind, events(data, "events-training"), seed=1)
    return folder


def change(name: str, **columns: Callable[[pd.DataFrame], object]) -> Change:
    def changed(folder: Path) -> None:
        table = pd.read_parquet(folder / name).assign(**columns)
        table.to_parquet(folder / name)

    return changed


def rewritten(name: str, text: str) -> Change:
    return lambda folder: (folder / name).write_text(text, encoding="utf-8")  # type: ignore[return-value]


def removed(name: str) -> Change:
    return lambda folder: (folder / name).unlink()


def about(**values: object) -> Change:
    """Other lines of model.toml; None: without the line."""

    def changed(folder: Path) -> None:
        path = folder / "model.toml"
        lines = dict(
            line.split(" = ") for line in path.read_text(encoding="utf-8").splitlines()
        )
        lines |= {key: repr(value) for key, value in values.items()}
        kept = [f"{key} = {text}\n" for key, text in lines.items() if text != "None"]
        path.write_text("".join(kept), encoding="utf-8")

    return changed
