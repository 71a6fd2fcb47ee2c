"""After ranking: places are traded for difference, where the request or the server's settings want that."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from data_exchange_center.diversity import diverse_order, rarity
from data_exchange_center.feature_kinds import Float32
from data_exchange_center.fusion import Hits
from data_exchange_center.similarity import similarity_rows
from online.recommend.exact_search import ExactItems
from online.recommend.types import Ranked


@dataclass(frozen=True, eq=False)
class SimilarItems:
    """How alike the items of a release are, and how rare, of those that the server holds copies of.

    Attributes:
        itemids: (n,), ascending.
        rows: (n, d) as `similarity_rows` makes them; d is 0 where a release has neither vectors nor terms.
        rarities: (n,).
    """

    itemids: NDArray[np.int64]
    rows: Float32
    rarities: Float32

    @classmethod
    def of(cls, items: ExactItems, popular: Hits, n_terms: int) -> SimilarItems:
        shares = np.zeros(len(items.itemids))
        listed = np.isin(popular.ids, items.itemids)
        shares[np.searchsorted(items.itemids, popular.ids[listed])] = popular.scores[listed]
        flags = np.zeros((len(items.itemids), n_terms), np.float32)
        for code, positions in items.terms.items():
            flags[positions, code - 1] = 1
        return cls(items.itemids, similarity_rows(list(items.vectors.values()), flags), rarity(shares))

    def among(self, itemids: NDArray[np.integer]) -> tuple[Float32, Float32]:
        """(k, d) rows and (k,) rarities of some items; 0 for one that is not held: like no other, and as if popular."""
        rows, rarities = np.zeros((len(itemids), self.rows.shape[1]), np.float32), np.zeros(len(itemids), np.float32)
        if len(self.itemids):
            at = np.minimum(np.searchsorted(self.itemids, itemids), len(self.itemids) - 1)
            known = self.itemids[at] == itemids
            rows[known], rarities[known] = self.rows[at[known]], self.rarities[at[known]]
        return rows, rarities


def diversified(similar: SimilarItems, ranked: Ranked, diversity: float, size: int, pool: int) -> Ranked:
    """The same, with an order in which the first ``size`` are shown; as it is where nothing says what is alike.

    ``pool``: how many of the best they are chosen from.
    """
    if not similar.rows.shape[1]:
        return ranked
    chosen = diverse_order(*similar.among(ranked.itemids[:pool]), diversity, size)
    order = np.concatenate([chosen, np.arange(len(chosen), len(ranked.itemids))])
    return replace(ranked, diversity=diversity, order=order)
