"""Bundles of random numbers, with the lists that they give, and ways to break them."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pandas as pd
from numpy.typing import NDArray

from data_exchange_center.settings import Settings
from extras.models.__main__ import COMPARED

HISTORY, DIMS = 6, 5
WEIGHTS = np.linspace(0.5, 1, HISTORY, dtype=np.float32)
Floats = NDArray[np.floating]
Change = Callable[[Path], object]


def encoder(embedding: Floats, opset: int = 18) -> onnx.ModelProto:
    """(batch, HISTORY) codes -> sum over events of weight x row of ``embedding`` (items + 1, d)."""
    proto = onnx.parser.parse_model(
        f"""
        <ir_version: 8, opset_import: ["": {opset}]>
        encoder (int64[batch, {HISTORY}] items) => (float[batch, {embedding.shape[1]}] user)
        <int64[1] axis = {{1}}> {{
            rows = Gather(embedding, items)
            weighted = Mul(rows, weights)
            user = ReduceSum<keepdims = 0>(weighted, axis)
        }}"""
    )
    weights = {"embedding": embedding, "weights": WEIGHTS[None, :, None]}
    for name, value in weights.items():
        stored = onnx.numpy_helper.from_array(value.astype(np.float32), name)
        proto.graph.initializer.append(stored)
    return proto


def user_vector(embedding: Floats, codes: NDArray[np.integer]) -> Floats:
    """What the encoder gives for one user's codes, oldest first."""
    kept = codes[-HISTORY:]
    found: Floats = WEIGHTS[HISTORY - len(kept) :] @ embedding[kept]
    return found


def events(data: Settings) -> pd.DataFrame:
    """What the fixture ``data`` has exported."""
    return pd.read_parquet(data.exchange_dir.parent / "events" / "events.parquet")


def written(folder: Path, kind: str, rows: pd.DataFrame, seed: int = 0) -> Path:
    """Write a bundle of a kind, with its lists for a request a second after each user's last event."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    users, items = np.unique(rows["user"]), rng.permutation(np.unique(rows["item"]))
    of_items = rng.normal(size=(len(items), DIMS))
    counts = pd.crosstab(rows["user"], rows["item"])
    seen = counts.reindex(index=users, columns=items).to_numpy() > 0
    about: dict[str, object] = {"name": "mine", "kind": kind, "library": "made up"}
    table = pd.DataFrame({"id": items, "vector": list(of_items)})
    if kind == "vectors":
        of_users = rng.normal(size=(len(users), DIMS))
        own = pd.DataFrame({"id": users, "vector": list(of_users)})
        own.to_parquet(folder / "users.parquet")
        scores = of_users @ of_items.T
    else:
        about["history_length"] = HISTORY
        embedding = np.vstack([np.zeros(DIMS), rng.normal(size=(len(items), DIMS))])
        onnx.save(encoder(embedding), folder / "encoder.onnx")
        codes = rows["item"].map(pd.Series(range(1, len(items) + 1), items))
        by_user = codes.groupby(rows["user"], sort=True)
        vectors = [user_vector(embedding, own.to_numpy()) for _, own in by_user]
        scores = np.stack(vectors) @ of_items.T
    table.to_parquet(folder / "items.parquet")
    write_about(folder, about)
    lists = []
    for user, row, own in zip(users, scores, seen, strict=True):
        row[own] = 0
        best = np.argsort(np.where(row == 0, np.inf, -row), kind="stable")
        best = best[: min(COMPARED, np.count_nonzero(row))]
        lists.append({"id": user, "items": items[best], "scores": row[best]})
    pd.DataFrame(lists).to_parquet(folder / "expected.parquet")
    return folder


def write_about(folder: Path, about: dict[str, object]) -> None:
    lines = [f"{key} = {json.dumps(value)}\n" for key, value in about.items()]
    (folder / "model.toml").write_text("".join(lines), encoding="utf-8")


def change(name: str, **columns: Callable[[pd.DataFrame], object]) -> Change:
    def changed(folder: Path) -> None:
        table = pd.read_parquet(folder / name).assign(**columns)
        table.to_parquet(folder / name)

    return changed


def rewritten(name: str, text: str) -> Change:
    return lambda folder: (folder / name).write_text(text, encoding="utf-8")


def removed(name: str) -> Change:
    return lambda folder: (folder / name).unlink()


def about(**values: object) -> Change:
    """Other lines of model.toml."""

    def changed(folder: Path) -> None:
        text = (folder / "model.toml").read_text(encoding="utf-8")
        write_about(folder, tomllib.loads(text) | values)

    return changed
