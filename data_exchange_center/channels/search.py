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
    top = np.argpartition(-scores, size - 1, axis=1)[:, :size]
    values = np.take_along_axis(scores, top, axis=1)
    last = values.min(axis=1)
    cut_in_a_tie = (last > NOT_FOUND) & ((scores >= last[:, None]).sum(axis=1) > size)
    for row in np.flatnonzero(cut_in_a_tie):  # the partition took any of those that tie
        codes = np.flatnonzero(scores[row] >= last[row])
        top[row] = codes[np.argsort(-scores[row, codes], kind="stable")[:size]]
        values[row] = scores[row, top[row]]
    order = np.lexsort((top, -values), axis=1)
    for codes, value in zip(np.take_along_axis(top, order, 1), np.take_along_axis(values, order, 1), strict=True):
        there = value > NOT_FOUND
        yield Hits(codes[there], value[there])
