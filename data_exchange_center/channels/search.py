"""The best items by score, as an index that searches exactly would return them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from data_exchange_center.channels.contract import NOT_FOUND
from data_exchange_center.channels.requests import Float32, Ints
from data_exchange_center.fusion import Hits

FOUND = np.nextafter(NOT_FOUND, np.float32(np.inf))  # the least score of what is found


def best_unseen(scores: Float32, rows: Ints, seen: Ints, size: int) -> Iterator[Hits]:
    """The ``size`` best of each row of (m, items + 1) ``scores``, without the (row, code) pairs ``seen``.

    Ties are in favour of the smaller code, at the end of a list too. ``scores`` are written over.
    """
    scores[rows, seen] = NOT_FOUND
    scores[:, 0] = NOT_FOUND
    size = min(size, scores.shape[1])
    least = scores.shape[1] - size
    last = np.partition(scores, least, axis=1)[:, least]
    taken = scores >= np.maximum(last, FOUND)[:, None]
    counts = np.count_nonzero(taken, axis=1)
    for row in np.flatnonzero(counts > size):  # several tie for its last places
        tied = np.flatnonzero(scores[row] == last[row])
        taken[row, tied[size - int(counts[row]) :]] = False
    places = np.flatnonzero(taken)
    codes, values = places % scores.shape[1], scores.reshape(-1)[places]
    for begin, end in pairwise((0, *np.cumsum(np.minimum(counts, size)).tolist())):
        order = np.argsort(-values[begin:end], kind="stable")
        yield Hits(codes[begin:end][order], values[begin:end][order])
