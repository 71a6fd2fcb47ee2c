"""Search a release's items by words: in Elasticsearch, or in the server's memory where that does not answer.

Both search title and values of attributes by the same words (`words_of`), rare ones first. Memory leaves out what
BM25 has of lengths and repeated words. Items that were added or changed without a release are searched in memory alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import Any, Final, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from data_exchange_center import wire
from data_exchange_center.fusion import NO_HITS, Hits
from data_exchange_center.words import named_values, words_of
from extras.routes import per_release
from online.clients.base import Client
from online.clients.elastic import KEYS_ONLY, ElasticItems, best_of, unseen_filter
from online.recommend.loaded_release import Release

MATCHES: Final = 1_000  # best items of a search
WEIGHT: Final = 0.6  # of the words in the order of matches, against the ranker's; README.md says how it was chosen
TITLE_WEIGHT: Final = 2  # of a word in the title, against 1 in an attribute
_IN_TITLE: Final = (
    1.375  # times as much in memory: what BM25 gives to a word that is there twice
)
# Left out of queries, as the last words say nothing in a catalogue of films; titles keep theirs
_STOP_WORDS: Final = (
    "a about an and are as at be by for from has he her his i in into is it me my of on or that the their them they "
    "this to was what who which with you film films movie movies"
)

Query = TypeVar("Query")
Found = TypeVar("Found")
Owner = TypeVar("Owner", bound=Client[Any, Any])
Int64 = NDArray[np.int64]
_words = lru_cache(2**14)(words_of)  # values of attributes come again and again


@dataclass(frozen=True, slots=True, eq=False)
class TextQuery:
    """A search for items of a release by words."""

    release: str
    words: tuple[str, ...]  # as `searched_words` gives them
    seen: NDArray[np.int32]  # numbers of items that are left out
    only: Int64 | None = None  # numbers that the search is limited to; None: no limit


class Sharing(Client[Query, Found], Generic[Query, Found, Owner]):
    """A client over the connections of another one, which closes them."""

    def __init__(self, owner: Owner) -> None:
        super().__init__(owner.timeout_s)
        self._owner = owner
        self.breaker = owner.breaker

    def _ping(self) -> str:
        return self._owner.ping()

    def close(self) -> None:
        """The owner closes the connections."""


class TextItems(Sharing[TextQuery, Hits, ElasticItems]):
    """Search by words in Elasticsearch, over the connections of the search by vectors."""

    service = ElasticItems.service

    def _call(self, query: TextQuery) -> Hits:
        body = {"query": body_of(query), "size": MATCHES, **KEYS_ONLY}
        return hits_of(self._owner.search(query.release, body))


def hits_of(found: Sequence[Mapping[str, Any]]) -> Hits:
    """The numbers and scores of Elasticsearch's hits, from their sort keys."""
    keys = np.array([hit["sort"] for hit in found], np.float64).reshape(-1, 2)
    return Hits(keys[:, 1].astype(np.int64), keys[:, 0])


def body_of(query: TextQuery) -> dict[str, Any]:
    """Elasticsearch's query: any of the words, as if title and attributes were one field; rare ones count more."""
    title = f"{wire.ITEM_WORDS}.title^{TITLE_WEIGHT}"
    fields = [title, f"{wire.ITEM_WORDS}.attributes"]
    words = {"combined_fields": {"query": " ".join(query.words), "fields": fields}}
    allowed = unseen_filter(query.seen, query.only)
    return {"bool": {"must": words, **allowed["bool"]}}


class Words:
    """An inverted index of items in memory."""

    def __init__(
        self,
        items: Mapping[int, tuple[str, Mapping[str, Any]]],
        among: Words | None = None,
    ) -> None:
        """Build the index.

        Args:
            items: number -> title and attributes.
            among: the index whose frequencies of words count, so that scores of both compare; None: this one.
        """
        self.item_numbers = np.fromiter(items, np.int64, len(items))
        self.among = among or self
        # word -> place of an item -> weight
        self.weights: dict[str, dict[int, float]] = {}
        for place, (title, attributes) in enumerate(items.values()):
            for word in chain.from_iterable(map(_words, named_values(attributes))):
                self.weights.setdefault(word, {})[place] = 1
            for word in _words(title):
                self.weights.setdefault(word, {})[place] = _IN_TITLE

    def find(self, query: TextQuery) -> Hits:
        """The best items of a search, best first; ties by number."""
        scores = np.zeros(len(self.item_numbers))
        n_items = len(self.among.item_numbers)
        for word in query.words:
            having = self.weights.get(word, {})
            n_having = len(self.among.weights.get(word, ()))
            rarity = np.log1p((n_items - n_having + 0.5) / (n_having + 0.5))
            scores[[*having]] += rarity * np.array([*having.values()])
        found = (scores > 0) & ~np.isin(self.item_numbers, query.seen)
        if query.only is not None:
            found &= np.isin(self.item_numbers, query.only)
        return best_of(Hits(self.item_numbers[found], scores[found]), NO_HITS, MATCHES)


def searched_words(text: str) -> tuple[str, ...]:
    """The words of a query, each once, without stop words; all where no others are left."""
    words = tuple(dict.fromkeys(words_of(text)))
    left_out = words_of(_STOP_WORDS)
    return tuple(word for word in words if word not in left_out) or words


@per_release
def _loaded_words(base: Release) -> Words:
    """The items that are searched while Elasticsearch does not answer, as they were loaded."""
    items = {}
    for number in base.exact.item_numbers.tolist():
        item = base.catalogue[number]
        items[number] = item.title, item.attributes
    return Words(items)


def words_in_memory(opened: Release) -> Words:
    """`_loaded_words` of a release, or of the one that it extends (`extras.items`)."""
    spaces = getattr(opened, "spaces", None)
    return _loaded_words(spaces.base if spaces else opened)


@per_release
def changed_words(opened: Release) -> Words:
    """The items that were added or changed since the release (`extras.items`)."""
    placed = getattr(opened, "placed", None)
    items = placed.shown.items() if placed else ()
    shown = {number: (item.title, item.attributes) for number, item in items}
    return Words(shown, words_in_memory(opened))


def blended(text: NDArray[np.floating], weight: float = WEIGHT) -> NDArray[np.intp]:
    """Places of n items in their order by words and by the user's ranker.

    An item's sum is ``weight`` x its share of the best BM25 + (1 - weight) x its share of the first place's NDCG
    discount, 1 / log2(1 + rank): so scores of any ranker need not be compared with BM25's.

    Args:
        text: (n,) BM25 of items in the ranker's order.
    """
    ranked = 1 / np.log2(np.arange(len(text)) + 2)
    best = text.max(initial=0.0) or 1.0
    scores = weight * (text / best) + (1 - weight) * ranked
    return np.argsort(-scores, kind="stable")
