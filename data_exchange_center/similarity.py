"""How alike items are, by the vectors of the channels and by their terms: as rows whose inner products say it.

Server and evaluation compare the same rows, which are made of what the index holds of the items.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from data_exchange_center.feature_kinds import Float32


def similarity_rows(vectors: Sequence[Float32], flags: Float32) -> Float32:
    """(n, d) rows: the inner product of two is how alike the items are, at most 1.

    Half of it is the cosine of their terms, half the mean cosine of their vectors as they are indexed; where there are
    no vectors, or no terms, the other half is all. What an item has none of counts as 0: neither like nor unlike.
    Popularity, where it is a dimension of the vectors, makes items alike, too.

    Args:
        vectors: of each channel (n, dim), NaN for an item without one.
        flags: (n, terms) 0/1.
    """
    sides = [_directions(flags)] if flags.shape[1] else []
    if vectors:
        sides.append(np.hstack([_directions(np.nan_to_num(each)) for each in vectors]) / np.sqrt(len(vectors)))
    if not sides:
        return np.zeros((len(flags), 0), np.float32)
    rows: Float32 = (np.hstack(sides) / np.sqrt(len(sides))).astype(np.float32)
    return rows


def _directions(rows: Float32) -> NDArray[np.float64]:
    """Of length 1, or 0 where there is none."""
    lengths = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    return rows / np.where(lengths > 0, lengths, np.inf)
