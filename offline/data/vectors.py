"""FM factors as vectors for an index that ranks by inner product."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Float32 = NDArray[np.float32]


def codes_of(ids: pd.Series, vocabulary: NDArray[np.int32]) -> NDArray[np.int64]:
    """Position in the sorted ``vocabulary`` plus one; 0 for an id that it does not hold."""
    position = pd.Index(vocabulary).get_indexer(pd.Index(ids))  # -1: not there
    return position.astype(np.int64) + 1


def user_vectors(factors: Float32) -> Float32:
    """(users, dim) -> (users, dim + 2): factors, 1 for the item's bias, 0 for the item's filler."""
    n = len(factors)
    return np.hstack([factors, np.ones((n, 1)), np.zeros((n, 1))]).astype(np.float32)


def item_vectors(factors: Float32, bias: Float32) -> Float32:
    """(items, dim), (items,) -> (items, dim + 2): factors, bias and a filler that makes all vectors equally long.

    <user, item> is v_user . v_item + b_item: for one user the FM's own order, its constant and the user's bias aside.
    The filler sqrt(M^2 - |(v, b)|^2), with M the longest, never meets anything but the user's 0; it makes an item the
    nearest to itself (Bachrach et al., "Speeding Up the Xbox Recommender System", RecSys 2014, section 3).
    """
    known = np.column_stack([factors, bias]).astype(np.float64)
    squared = (known**2).sum(axis=1)
    filler = np.sqrt(np.maximum(squared.max(initial=0.0) - squared, 0.0))
    return np.column_stack([known, filler]).astype(np.float32)
