"""Recall without Elasticsearch: the same search over the same vectors, exactly, in the server's memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_exchange_center.feature_kinds import Float32
from data_exchange_center.fusion import NO_HITS, Hits
from data_exchange_center.index_scores import hybrid_scores
from data_exchange_center.recipes import VectorRecipe
from online.clients.elastic import IndexedItem
from online.clients.item_search import ItemQuery


@dataclass(frozen=True, eq=False)
class ExactItems:
    """The items of a release that are searched when Elasticsearch does not answer.

    Attributes:
        itemids: (n,), ascending.
        vectors: channel -> (n, dim), NaN for an item without one.
        terms: term code -> positions of the items that have it.
    """

    itemids: NDArray[np.int64]
    vectors: Mapping[str, Float32]
    terms: Mapping[int, NDArray[np.intp]]

    @classmethod
    def of(cls, items: Iterable[IndexedItem], dims: Mapping[str, int]) -> ExactItems:
        """``dims``: width of each channel's vectors."""
        ordered = sorted(items, key=lambda item: item.itemid)
        vectors = {name: np.full((len(ordered), width), np.nan, np.float32) for name, width in dims.items()}
        terms: dict[int, list[int]] = {}
        for position, item in enumerate(ordered):
            for name, vector in item.vectors.items():
                vectors[name][position] = vector
            for code in item.terms:
                terms.setdefault(code, []).append(position)
        return cls(
            itemids=np.array([item.itemid for item in ordered], np.int64),
            vectors=vectors,
            terms={code: np.array(positions, np.intp) for code, positions in terms.items()},
        )

    def call(self, query: ItemQuery) -> tuple[Hits, ...]:
        """As `ElasticItems` answers, one list a channel that it searches; ties by itemid."""
        unseen = ~np.isin(self.itemids, query.seen)
        return tuple(self._search(channel, query, unseen) for channel in query.recall.searched)

    def has_term(self, itemid: int, code: int) -> bool:
        """Whether an item that is held here has a term."""
        positions = self.terms.get(code)
        return positions is not None and _is_among(self.itemids[positions], itemid)

    def has_vector(self, itemid: int) -> bool:
        """Whether an item has a vector of any channel, so that the release was trained on it, or is not held here."""
        if not _is_among(self.itemids, itemid):
            return True
        position = np.searchsorted(self.itemids, itemid)
        return any(not np.isnan(vectors[position]).any() for vectors in self.vectors.values())

    def _search(self, channel: VectorRecipe, query: ItemQuery, unseen: NDArray[np.bool_]) -> Hits:
        vector, terms = query.vectors.get(channel.name), query.terms if channel.term_weight > 0 else ()
        if vector is None and not terms:
            return NO_HITS
        products = np.full(len(self.itemids), np.nan, np.float32)
        if vector is not None:
            products[unseen] = self.vectors[channel.name][unseen] @ vector
        if not terms:
            return self._best(products.astype(np.float64), query.recall.candidates)
        nearest = np.full_like(products, np.nan)
        kept = _highest(products, query.recall.num_candidates)
        nearest[kept] = products[kept]
        scores = hybrid_scores(nearest, self._matches(terms) & unseen, channel)
        return self._best(scores, query.recall.candidates)

    def _matches(self, terms: Sequence[int]) -> NDArray[np.bool_]:
        """Which items have at least one of the terms."""
        matches = np.zeros(len(self.itemids), np.bool_)
        for code in terms:
            if code in self.terms:
                matches[self.terms[code]] = True
        return matches

    def _best(self, scores: NDArray[np.float64], size: int) -> Hits:
        kept = _highest(scores, size)
        order = kept[np.lexsort((self.itemids[kept], -scores[kept]))]
        return Hits(self.itemids[order], scores[order])


def _is_among(ascending: NDArray[np.int64], itemid: int) -> bool:
    position = np.searchsorted(ascending, itemid)
    return bool(position < len(ascending) and ascending[position] == itemid)


def _highest(scores: NDArray[np.floating], n: int) -> NDArray[np.intp]:
    """Positions of the ``n`` highest scores, in no order; of equal ones those that come first. NaN is no score."""
    found = np.flatnonzero(~np.isnan(scores))
    if len(found) <= n:
        return found
    known = scores[found]
    least = np.partition(known, len(found) - n)[len(found) - n]
    better, equal = found[known > least], found[known == least]
    return np.concatenate([better, equal[: n - len(better)]])
