"""The list ranker's tables of pairs: similarities as they are, where factors keep their outline alone.

A table has the most rated items, and grows with the square of their number. The other items have no pairs; their
similarities by factors stay.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from offline.training.item_item import ease_of_pairs

PRIOR = 20.0  # followers that an item has besides its own: of what is seldom rated, little follows
SCALE, WIDTH = 1000.0, 5.0  # of the logarithm, so that the values are about one
EASE_SCALE = 20.0  # the same of EASE's weights


def paired_places(together: sp.csr_matrix, paired: int) -> NDArray[np.int64]:
    """(items + 1,) 1..n for the ``paired`` most rated items in the order of their codes, 0 for the others.

    ``together``: `pairs.seen_together`. Of equally rated items those with the smaller codes are taken.
    """
    rated = together.diagonal()[1:]
    codes = np.sort(np.argsort(-rated, kind="stable")[:paired]) + 1
    places = np.zeros(len(rated) + 1, dtype=np.int64)
    places[codes] = np.arange(1, len(codes) + 1)
    return places


def pair_tables(
    followers: sp.csr_matrix, together: sp.csr_matrix, places: NDArray[np.int64], l2: float
) -> tuple[NDArray[np.float16], ...]:
    """(n + 1, n + 1) each, row and column 0 zero: how likely the column's item is liked soon after the row's; EASE's
    weight of the row's item for the column's (Steck 2019).

    Args:
        followers, together: as `offline.data.pairs` counts them.
        places: (items + 1,) `paired_places`.
        l2: of EASE.
    """
    codes = np.flatnonzero(places)
    return tuple(_table(values) for values in (_followed(followers, codes), _ease(together, codes, l2)))


def _followed(followers: sp.csr_matrix, codes: NDArray[np.int64]) -> NDArray[np.floating]:
    of_paired = followers[codes]
    share = of_paired[:, codes].toarray() / (np.asarray(of_paired.sum(axis=1)) + PRIOR)  # (n, n) / (n, 1)
    likely: NDArray[np.floating] = np.log1p(SCALE * share) / WIDTH
    return likely


def _ease(together: sp.csr_matrix, codes: NDArray[np.int64], l2: float) -> NDArray[np.floating]:
    weights: NDArray[np.floating] = EASE_SCALE * ease_of_pairs(together[codes][:, codes], l2)
    return weights


def _table(values: NDArray[np.floating]) -> NDArray[np.float16]:
    table = np.zeros((len(values) + 1, len(values) + 1), dtype=np.float16)
    table[1:, 1:] = values
    return table
