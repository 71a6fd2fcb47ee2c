"""Vectors as the index holds them: popularity is one more dimension, and one that makes all items equally long."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from data_exchange_center.channels.requests import Float32


def query_vectors(vectors: Float32) -> Float32:
    """(m, d) user vectors -> (m, d + 2): 1 for the item's bias, 0 for the item's filler."""
    longer = np.zeros((len(vectors), vectors.shape[1] + 2), np.float32)
    longer[:, :-2], longer[:, -2] = vectors, 1
    return longer


def index_vectors(vectors: Float32, bias: Float32, indexed: NDArray[np.bool_] | None = None) -> Float32:
    """(n, d) item vectors, (n,) biases -> (n, d + 2): vector, bias, and a filler that makes all equally long.

    <query, item> is the model's own v_user . v_item + b_item. The filler sqrt(M^2 - |(v, b)|^2), with M the longest,
    meets only the query's 0; it makes an item the nearest to itself (Bachrach et al., "Speeding Up the Xbox Recommender
    System", RecSys 2014, section 3).

    ``indexed``: (n,) the rows whose longest is M; None: all.
    """
    known = np.hstack([vectors, bias[:, None]]).astype(np.float64)
    square = (known**2).sum(axis=1)
    longest = (square if indexed is None else square[indexed]).max(initial=0.0)
    filler = np.sqrt(np.maximum(longest - square, 0))
    return np.hstack([known, filler[:, None]]).astype(np.float32)
