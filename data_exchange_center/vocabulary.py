"""Ids and their codes, and the best k of scores by code: the two lookups that models, training and serving share.

Codes are 1..n in ascending order of the ids. Code 0 is padding and stands for an unknown id.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from data_exchange_center.fusion import Hits

UNKNOWN: Final = 0  # code of padding, and of an id that is not known
NOT_FOUND: Final = np.float32(-np.inf)  # score of an item that is not returned
_FOUND: Final = np.nextafter(NOT_FOUND, np.float32(np.inf))  # the lowest score of an item that is


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """Sorted ids; the code of ``ids[c - 1]`` is c."""

    ids: NDArray[Any]  # (n,) numbers or strings, ascending, each once

    @classmethod
    def of(cls, ids: ArrayLike) -> Vocabulary:
        """Sort ids that may repeat."""
        return cls(np.unique(np.asarray(ids)))

    def __len__(self) -> int:
        return len(self.ids)

    def codes(self, ids: ArrayLike) -> NDArray[np.int64]:
        """Look up ids of any shape. Returns their codes, `UNKNOWN` for those that are not in the vocabulary."""
        wanted = np.asarray(ids)
        if not len(self.ids):
            return np.zeros(wanted.shape, np.int64)
        position = np.minimum(np.searchsorted(self.ids, wanted), len(self.ids) - 1)
        return np.where(self.ids[position] == wanted, position + 1, UNKNOWN)


def top_k(scores: NDArray[np.float32], k: int, rows: NDArray[np.integer], seen: NDArray[np.integer]) -> Iterator[Hits]:
    """Find the ``k`` best items of each row, as an exact index would return them: codes and scores, best first.

    Ties go to the smaller code, at the end of a list too. `NOT_FOUND` is never returned, so a list may be shorter.

    Args:
        scores: (m, items + 1) by item code; written over.
        k: length of a list.
        rows, seen: (row, item code) pairs that are left out, (n,) each.
    """
    scores[rows, seen] = NOT_FOUND
    scores[:, UNKNOWN] = NOT_FOUND
    k = min(k, scores.shape[1])
    least = scores.shape[1] - k
    last = np.partition(scores, least, axis=1)[:, least]  # (m,) the k-th best score
    taken = scores >= np.maximum(last, _FOUND)[:, None]  # (m, items + 1)
    counts = np.count_nonzero(taken, axis=1)
    for row in np.flatnonzero(counts > k):  # several tie for its last places
        tied = np.flatnonzero(scores[row] == last[row])
        taken[row, tied[k - int(counts[row]) :]] = False
    places = np.flatnonzero(taken)
    codes, values = places % scores.shape[1], scores.reshape(-1)[places]
    for begin, end in pairwise((0, *np.cumsum(np.minimum(counts, k)).tolist())):
        order = np.argsort(-values[begin:end], kind="stable")
        yield Hits(codes[begin:end][order], values[begin:end][order])
