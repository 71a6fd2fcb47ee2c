"""Bundles of kind encoder, made by hand: a weighted sum of the newest events' item vectors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pandas as pd
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from extras.models.__main__ import COMPARED

HISTORY, DIMS = 6, 5
WEIGHTS = np.linspace(0.5, 1, HISTORY, dtype=np.float32)
Floats = NDArray[np.floating]


def model(embedding: Floats, opset: int = 18) -> onnx.ModelProto:
    """(batch, HISTORY) codes -> sum over events of weight x row of ``embedding`` (items + 1, d)."""
    stored = {
        "embedding": embedding.astype(np.float32),
        "weights": WEIGHTS[None, :, None],
        "axis": np.array([1]),
    }
    nodes = [
        helper.make_node("Gather", ["embedding", "items"], ["rows"]),
        helper.make_node("Mul", ["rows", "weights"], ["weighted"]),
        helper.make_node("ReduceSum", ["weighted", "axis"], ["sum"], keepdims=0),
        helper.make_node("Identity", ["sum"], ["user"]),
    ]
    tensor = helper.make_tensor_value_info
    items = tensor("items", TensorProto.INT64, ["batch", HISTORY])
    user = tensor("user", TensorProto.FLOAT, ["batch", embedding.shape[1]])
    weights = [numpy_helper.from_array(value, name) for name, value in stored.items()]
    graph = helper.make_graph(nodes, "encoder", [items], [user], weights)
    opsets = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def vector(embedding: Floats, codes: NDArray[np.integer]) -> Floats:
    """What the model gives for one user's codes, oldest first."""
    kept = codes[-HISTORY:]
    found: Floats = WEIGHTS[HISTORY - len(kept) :] @ embedding[kept]
    return found


def write_lists(
    folder: Path, users: Sequence[str], items: np.ndarray, scores: Sequence[np.ndarray]
) -> None:
    """Write expected.parquet; a score of -inf: not listed."""
    lists = []
    for user, row in zip(users, scores, strict=True):
        best = np.argsort(-row, kind="stable")[: min(COMPARED, np.isfinite(row).sum())]
        lists.append(
            {"id": user, "items": list(items[best]), "scores": list(row[best])}
        )
    pd.DataFrame(lists).to_parquet(folder / "expected.parquet")


def written(folder: Path, rows: pd.DataFrame, seed: int = 0) -> Path:
    """A bundle of random numbers, and the lists that they give for a request a second after each user's last event."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    items = rng.permutation(np.unique(rows["item"]))
    embedding = np.vstack([np.zeros(DIMS), rng.normal(size=(len(items), DIMS))])
    of_items = rng.normal(size=(len(items), DIMS))
    onnx.save(model(embedding), folder / "encoder.onnx")
    table = pd.DataFrame({"id": items, "vector": list(of_items)})
    table.to_parquet(folder / "items.parquet")
    codes = {item: code for code, item in enumerate(items, start=1)}
    users, scores = [], []
    for user, own in rows.groupby("user", sort=True):
        of_user = own["item"].map(codes).to_numpy()
        row = of_items @ vector(embedding, of_user)
        row[of_user - 1] = -np.inf
        users.append(user)
        scores.append(row)
    write_lists(folder, users, items, scores)
    about = f'name = "mine"\nkind = "encoder"\nlibrary = "made up"\nhistory_length = {HISTORY}\n'
    (folder / "model.toml").write_text(about, encoding="utf-8")
    return folder
