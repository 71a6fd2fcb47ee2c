"""The best items by score, as an index that searches exactly would return them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from data_exchange_center.channels.contract import NOT_FOUND
from data_exchange_center.channels.requests import Float32, Ints
from data_exchange_center.fusion import Hits


def best_unseen(scores: Float32, rows: Ints, seen: Ints, size: int) -> Iterator[Hits]:
    """The ``size`` best of each row of (m, items + 1) ``scores``, without the (row, code) pairs ``seen``.

    Ties are in favour of the smaller code, at the end of a list too. ``scores`` are written over.
    """
    scores[rows, seen] = NOT_FOUND
    scores[:, 0] = NOT_FOUND
    size = min(size, scores.shape[1])
    least = scores.shape[1] - size
    last = np.partition(scores, least, axis=1)[:, least]
    taken = (scores >= last[:, None]) & (scores > NOT_FOUND)
    for row in np.flatnonzero(taken.sum(axis=1) > size):  # several tie for its last places
        tied = np.flatnonzero(scores[row] == last[row])
        taken[row, tied[size - int(taken[row].sum()) :]] = False
    for of_row, there in zip(scores, taken, strict=True):
        codes = np.flatnonzero(there)
        value = of_row[codes]
        order = np.argsort(-value, kind="stable")
        yield Hits(codes[order], value[order])
