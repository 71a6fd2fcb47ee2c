"""The items that may be found, and the best of them by their scores."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from data_exchange_center.fusion import NOT_FOUND, UNKNOWN, Hits, Vocabulary

_FOUND: Final = np.nextafter(NOT_FOUND, np.float32(np.inf))  # the lowest found score


def top_k(
    scores: NDArray[np.floating],
    k: int,
    rows: NDArray[np.integer],
    seen: NDArray[np.integer],
) -> Iterator[Hits]:
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


def allowed_items(
    item_numbers: NDArray[np.int64],
    seen: ArrayLike,
    only: NDArray[np.int64] | None = None,
) -> NDArray[np.bool_]:
    """(n,) ascending ``item_numbers`` -> mask of those not ``seen``; where ``only`` is given, of those alone."""
    items = Vocabulary(item_numbers)
    allowed = np.full(len(items) + 1, only is None)  # by code
    if only is not None:
        allowed[items.codes(only)] = True
    allowed[items.codes(seen)] = False
    return allowed[1:]


def best(
    scores: NDArray[np.floating], allowed: NDArray[np.bool_], size: int
) -> NDArray[np.int64]:
    """Positions of the ``size`` highest allowed scores, best first, ties by position; NaN is no score."""
    by_code = np.full((1, len(scores) + 1), NOT_FOUND, scores.dtype)
    nothing = np.empty(0, np.intp)
    np.copyto(by_code[0, 1:], scores, where=allowed & ~np.isnan(scores))
    (hits,) = top_k(by_code, size, nothing, nothing)
    return hits.ids.astype(np.int64) - 1
