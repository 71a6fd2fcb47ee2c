"""Items on a plane: their vectors along the two directions in which these differ most."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from data_exchange_center import artifacts, wire
from data_exchange_center.columns import Columns, vector_of
from data_exchange_center.feature_kinds import Float32

MOST_ITEMS: Final = 20_000  # a browser draws no more, and these take less than a second however many there are
_NOTHING: Final = 1e-5  # a length that is a rounding error
_FURTHEST: Final = 99.5  # percent of the items lie within -1 to 1; the few beyond are put on the edge


def item_places(exchange_dir: Path, channel: str, most: int = MOST_ITEMS) -> NDArray[Any]:
    """(n,) of `wire.PLACE`: the most popular items for which a channel has a vector, most popular first.

    Raises ArtifactError when a file is missing.
    """
    field = vector_of(channel)
    vectors = artifacts.ITEM_VECTORS.read(exchange_dir, [Columns.ITEM, field]).dropna().sort_values(Columns.ITEM)
    popular = artifacts.POPULAR.read(exchange_dir, [Columns.ITEM])[Columns.ITEM].tolist()
    ranks = {itemid: rank for rank, itemid in enumerate(popular)}
    rank = vectors[Columns.ITEM].map(ranks).fillna(len(ranks)).astype(np.int64).to_numpy()
    first = np.argsort(rank, kind="stable")[:most]
    places = np.empty(len(first), wire.PLACE)
    places["itemid"] = vectors[Columns.ITEM].to_numpy()[first]
    if len(first):
        xy = projected(np.stack(vectors[field].tolist()).astype(np.float32)[first], rank[first])
        places["x"], places["y"] = xy.T
    return places


def projected(vectors: Float32, ranks: NDArray[np.integer]) -> NDArray[np.float64]:
    """(n, dim) vectors -> (n, 2) places within -1 to 1, by the principal components of what popularity leaves of them.

    ``ranks``: (n,) places on the popular list, from 0. Vectors of the inner product carry popularity as their widest
    direction; without it, what is near is alike. Lengths do not matter.
    """
    known = np.log1p(ranks.astype(np.float64))[:, None] ** np.arange(3)  # a curve: 1, x, x * x
    rest = vectors - known @ np.linalg.lstsq(known, vectors.astype(np.float64), rcond=None)[0]
    lengths = np.linalg.norm(rest, axis=1, keepdims=True)
    units = rest / np.where(lengths > _NOTHING, lengths, np.inf)
    centred = units - units.mean(axis=0)
    _, directions = np.linalg.eigh(centred.T @ centred)  # ascending
    axes = directions[:, :-3:-1]  # (dim, 2)
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), range(axes.shape[1])])  # which way is up is fixed
    places: NDArray[np.float64] = centred @ axes
    scale = np.percentile(np.abs(places), _FURTHEST, axis=0) if len(places) else np.ones(2)
    return np.clip(places / np.where(scale > 0, scale, 1), -1, 1)
