"""Bundles of kind encoder, made by hand: a weighted sum of the newest events' item vectors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pandas as pd
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from extras.models.__main__ import COMPARED

HISTORY, DIMS = 6, 5
DECAY_S = 1e6  # of the variant with times
Ints = NDArray[np.integer]
Floats = NDArray[np.floating]


def model(
    embedding: Floats,
    times: bool = False,
    opset: int = 18,
    history: int = HISTORY,
    op: str = "Identity",
) -> onnx.ModelProto:
    """(batch, history) codes -> sum over events of position weight x row of ``embedding`` (items + 1, d).

    ``times``: an event weighs exp(-age), too, with ages in units of `DECAY_S`; ``op``: the last node.
    """
    weights = np.linspace(0.5, 1, history, dtype=np.float32)
    stored = {
        "embedding": embedding.astype(np.float32),
        "weights": weights[None, :, None],
        "axis": np.array([1]),
        "last": np.array([2]),
        "first_ones": np.arange(history),
        "request": np.array([history]),
        "decay": np.float32(-1 / DECAY_S),
    }
    nodes = [
        helper.make_node("Gather", ["embedding", "items"], ["rows"]),
        helper.make_node("Mul", ["rows", "weights"], ["weighted"]),
    ]
    if times:
        nodes += [
            helper.make_node("Gather", ["times", "request"], ["now"], axis=1),
            helper.make_node("Gather", ["times", "first_ones"], ["then"], axis=1),
            helper.make_node("Sub", ["now", "then"], ["whole_age"]),
            helper.make_node("Cast", ["whole_age"], ["age"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["age", "decay"], ["exponent"]),
            helper.make_node("Exp", ["exponent"], ["factor"]),
            helper.make_node("Unsqueeze", ["factor", "last"], ["factors"]),
            helper.make_node("Mul", ["weighted", "factors"], ["decayed"]),
        ]
    nodes += [
        helper.make_node(
            "ReduceSum",
            ["decayed" if times else "weighted", "axis"],
            ["sum"],
            keepdims=0,
        ),
        helper.make_node(op, ["sum"], ["user"]),
    ]
    inputs = [
        helper.make_tensor_value_info("items", TensorProto.INT64, ["batch", history])
    ]
    if times:
        inputs.append(
            helper.make_tensor_value_info(
                "times", TensorProto.INT64, ["batch", history + 1]
            )
        )
    graph = helper.make_graph(
        nodes,
        "encoder",
        inputs,
        [
            helper.make_tensor_value_info(
                "user", TensorProto.FLOAT, ["batch", embedding.shape[1]]
            )
        ],
        [
            numpy_helper.from_array(np.asarray(value), name)
            for name, value in stored.items()
        ],
    )
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8
    )


def vector(
    embedding: Floats, codes: Ints, times: Ints | None = None, now: int = 0
) -> Floats:
    """What the model gives for one user's codes, oldest first; with ``times`` of the events, for a request ``now``."""
    kept = codes[-HISTORY:]
    weights = np.linspace(0.5, 1, HISTORY)[HISTORY - len(kept) :]
    if times is not None:
        weights = weights * np.exp(-(now - times[-HISTORY:]) / DECAY_S)
    found: Floats = weights @ embedding[kept]
    return found


def written(
    folder: Path,
    rows: pd.DataFrame,
    *,
    times: bool = False,
    cosine: bool = False,
    seed: int = 0,
    name: str = "mine",
) -> Path:
    """A bundle of random numbers, and the lists that they give for a request a second after each user's last event."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    items = rng.permutation(np.unique(rows["item"]))
    embedding = np.vstack([np.zeros(DIMS), rng.normal(size=(len(items), DIMS))])
    of_items, bias = rng.normal(size=(len(items), DIMS)), rng.normal(size=len(items))
    onnx.save(model(embedding, times), folder / "encoder.onnx")
    pd.DataFrame({"id": items, "vector": list(of_items), "bias": bias}).to_parquet(
        folder / "items.parquet"
    )
    codes = {item: code for code, item in enumerate(items, start=1)}
    lists = []
    for user, own in rows.groupby("user", sort=True):
        of_user = own["item"].map(codes).to_numpy()
        seconds = own["time"].to_numpy()
        query = vector(
            embedding, of_user, seconds if times else None, int(seconds[-1]) + 1
        )
        compared = of_items
        if cosine:
            query = query / np.linalg.norm(query)
            compared = of_items / np.linalg.norm(of_items, axis=1, keepdims=True)
        scores = compared @ query + bias
        scores[np.unique(of_user) - 1] = -np.inf
        best = np.argsort(-scores, kind="stable")[
            : min(COMPARED, np.isfinite(scores).sum())
        ]
        lists.append(
            {"id": user, "items": list(items[best]), "scores": list(scores[best])}
        )
    pd.DataFrame(lists).to_parquet(folder / "expected.parquet")
    similarity, inputs = (
        "cosine" if cosine else "dot",
        '"items", "times"' if times else '"items"',
    )
    lines = f'name = "{name}"\nkind = "encoder"\nlibrary = "made up"\nsimilarity = "{similarity}"\n'
    about = f"{lines}history_length = {HISTORY}\ninputs = [{inputs}]\n"
    (folder / "model.toml").write_text(about, encoding="utf-8")
    return folder
