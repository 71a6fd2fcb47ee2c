"""Exact search over all items of a release, in memory.

Evaluation and the parity check search with it, and a server whose Elasticsearch does not answer.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_exchange_center import top_k, wire
from data_exchange_center.candidates import ItemQuery
from data_exchange_center.features import Float32
from data_exchange_center.fusion import Hits
from data_exchange_center.recipes import VectorRecipe


@dataclass(frozen=True, slots=True, eq=False)
class IndexedItem:
    """Terms and vectors by which an item is found."""

    number: int
    terms: tuple[int, ...]  # genre codes
    vectors: Mapping[str, Float32]  # channel -> (dim,), of the channels that have one


@dataclass(frozen=True, eq=False)
class ExactItems:
    """All items of a release, searched exactly: by evaluation, by the parity check, and by a server whose Elasticsearch
    does not answer.

    Attributes:
        item_numbers: (n,), ascending.
        vectors: channel -> (n, dim), NaN for an item without one.
        terms: term code -> positions of the items that have it.
    """

    item_numbers: NDArray[np.int64]
    vectors: Mapping[str, NDArray[np.floating]]
    terms: Mapping[int, NDArray[np.intp]]

    @classmethod
    def of(cls, items: Iterable[IndexedItem], dims: Mapping[str, int]) -> "ExactItems":
        """Build the index. ``dims``: channel -> width of its vectors."""
        ordered = sorted(items, key=lambda item: item.number)
        vectors = {
            name: np.full((len(ordered), width), np.nan, np.float32)
            for name, width in dims.items()
        }
        terms: dict[int, list[int]] = {}
        for position, item in enumerate(ordered):
            for name, vector in item.vectors.items():
                vectors[name][position] = vector
            for code in item.terms:
                terms.setdefault(code, []).append(position)
        positions = {
            code: np.array(of_code, np.intp) for code, of_code in terms.items()
        }
        return cls(
            np.array([item.number for item in ordered], np.int64), vectors, positions
        )

    def call(self, query: ItemQuery) -> dict[str, Hits]:
        """Search as `ElasticItems` does: channel name -> its `Hits`, best first; ties by number."""
        allowed = self.allowed(query)
        found = {}
        for channel in query.recall.vector_channels:
            products = np.full(len(self.item_numbers), np.nan, np.float32)
            if (vector := query.vectors.get(channel.name)) is not None:
                products[allowed] = self.vectors[channel.name][allowed] @ vector
            scores = self.scores(channel, query, products, allowed).astype(np.float64)
            found[channel.name] = self.best(scores, allowed, query.recall.candidates)
        return found

    def allowed(self, query: ItemQuery) -> NDArray[np.bool_]:
        """(n,) the items that may be found."""
        return top_k.allowed_items(self.item_numbers, query.seen, query.only)

    def scores(
        self,
        channel: VectorRecipe,
        query: ItemQuery,
        products: NDArray[np.floating],
        allowed: NDArray[np.bool_],
    ) -> NDArray[np.floating]:
        """(n,) inner products -> (n,) scores of one channel's search, NaN for items that it does not find.

        Only a hybrid search reads ``allowed``, (n,): its nearest items are chosen among these.
        """
        if not query.terms or channel.term_weight <= 0:
            return products
        nearest = np.full_like(products, np.nan)
        best = top_k.best(products, allowed, query.recall.num_candidates)
        nearest[best] = products[best]
        matches = np.zeros(len(products), np.bool_)
        for code in query.terms:
            matches[self.terms.get(code, [])] = True
        # a match earns the channel's term weight, a vector its vector weight times the score of the product
        has_vector = ~np.isnan(nearest)
        near = np.where(has_vector, wire.score_of_product(nearest), 0)
        earned = channel.term_weight * matches + channel.vector_weight * near
        return np.where(matches | has_vector, earned, np.nan)

    def best(
        self, scores: NDArray[np.floating], allowed: NDArray[np.bool_], size: int
    ) -> Hits:
        """The ``size`` best items, best first, of those that are allowed and have a score."""
        best = top_k.best(scores, allowed, size)
        return Hits(self.item_numbers[best], scores[best])
