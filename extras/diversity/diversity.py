"""Re-ranking for diversity: a list in which an item has to differ from those above it to keep its place.

Server and evaluation call the same `diverse_order`, on what `similarity_rows` and `rarity` made: rows whose inner
products say how alike items are, by the vectors of the channels and by their terms.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data_exchange_center.features import Float32

# Weight of rarity. Without it lists that differ within are more alike among users: fewer items are on
# anybody's list, and more popular ones (pic/figures/tune_diversity.json).
RARITY: Final = 0.5


def diverse_order(rows: Float32, rarities: Float32, diversity: float, size: int) -> NDArray[np.intp]:
    """(n,) places of n ranked items in another order: the first ``size`` chosen one by one, the others as they were.

    Each choice has the highest (1 - diversity) * relevance - diversity * (similarity - `RARITY` * rarity): maximal
    marginal relevance (Carbonell & Goldstein 1998), where the similarity is the mean one to all that are chosen (Smyth
    & McClave 2001). Relevance is 1 / log2(1 + rank), what the place counts for in the NDCG, so that any ranker's
    scores, or none, will do. Of equals the better ranked is chosen. A longer list begins with the shorter one.

    Args:
        rows: (n, d) in the ranker's order; inner products say how alike items are.
        rarities: (n,) from 0 to 1.
        diversity: 0, the ranker's order, to 1, in which the ranker has only chosen the candidates.
    """
    n = len(rows)
    alike = rows @ rows.T  # (n, n)
    worth = (1 - diversity) / np.log2(np.arange(n) + 2) + diversity * RARITY * rarities
    total = np.zeros(n)  # of the similarities to what is chosen
    order = np.empty(n, np.intp)
    left = np.ones(n, np.bool_)
    for place in range(min(size, n)):
        best = int((worth - (diversity / max(place, 1)) * total).argmax())
        order[place], left[best], worth[best] = best, False, -np.inf
        total += alike[best]
    order[min(size, n) :] = np.flatnonzero(left)
    return order


def rarity(shares: NDArray[np.floating]) -> Float32:
    """(n,) shares of the users who like an item -> its self-information, -log share, by that of the rarest: 0 to 1.

    An item that nobody is known to like counts as the rarest.
    """
    known = shares[shares > 0].astype(np.float64)
    if not len(known) or known.min() >= 1:
        return np.zeros(len(shares), np.float32)
    rarities: Float32 = (np.log(np.clip(shares, known.min(), 1)) / np.log(known.min())).astype(np.float32)
    return rarities


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
    """Rows scaled to length 1; zero rows stay zero."""
    lengths = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    return rows / np.where(lengths > 0, lengths, np.inf)
