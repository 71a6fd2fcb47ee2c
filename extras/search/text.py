"""Search a release's items by words: in Elasticsearch, or in the server's memory where that does not answer.

Both score by BM25 over title and values of attributes, by the same words (`words_of`), and give nearly the same
lists. Items that were added or changed without a release are searched in memory alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Final, Self

import numpy as np
from numpy.typing import NDArray

from data_exchange_center import wire
from data_exchange_center.fusion import NO_HITS, Hits
from data_exchange_center.words import words_of
from extras.routes import per_release
from online.clients.base import Client, StoredError
from online.clients.elastic import KEYS_ONLY, ElasticItems, best_of, unseen_filter
from online.recommend.loaded_release import Release

MATCHES: Final = 1_000  # best items of a search
TITLE_WEIGHT: Final = 2  # of a word in the title, against 1 in an attribute
_K1, _B = 1.2, 0.75  # of BM25, as Elasticsearch's defaults
# Left out of queries; titles keep theirs
_STOP_WORDS: Final = (
    "a about an and are as at be by for from has he her his i in into is it me my of on or that the their them they "
    "this to was what who which with you"
)

Int64 = NDArray[np.int64]
_words = lru_cache(2**14)(words_of)  # values of attributes come again and again


@dataclass(frozen=True, slots=True, eq=False)
class TextQuery:
    """A search for items of a release by words."""

    release: str
    words: tuple[str, ...]  # as `searched_words` gives them
    seen: NDArray[np.int32]  # numbers of items that are left out
    only: Int64 | None = None  # numbers that the search is limited to; None: no limit


class TextItems(Client[TextQuery, Hits]):
    """Search by words in Elasticsearch, over the connections of the search by vectors."""

    service: ClassVar[str] = ElasticItems.service

    def __init__(self, items: ElasticItems) -> None:
        super().__init__(items.timeout_s)
        self._items = items
        self.breaker = items.breaker
        self._with_words: set[str] = (
            set()
        )  # releases whose index is known to have words

    def _call(self, query: TextQuery) -> Hits:
        hits = self._items.search(
            query.release, {"query": body_of(query), "size": MATCHES, **KEYS_ONLY}
        )
        if not hits:
            self._require_words(query.release)
        keys = np.array([hit["sort"] for hit in hits], np.float64).reshape(-1, 2)
        return Hits(keys[:, 1].astype(np.int64), keys[:, 0])

    def _require_words(self, release: str) -> None:
        """Raises StoredError for a release that was loaded by an earlier version, without words."""
        if release not in self._with_words:
            having = {"exists": {"field": f"{wire.ITEM_WORDS}.title"}}
            if not self._items.search(
                release, {"query": having, "size": 1, **KEYS_ONLY}
            ):
                raise StoredError(
                    self.service,
                    "has no words of this release's items: run make sync again",
                )
            self._with_words.add(release)

    def _ping(self) -> str:
        return self._items.ping()

    def close(self) -> None:
        """The connections are the other client's."""


def body_of(query: TextQuery) -> dict[str, Any]:
    """Elasticsearch's query: any of the words, as if title and attributes were one field; rare ones count more."""
    fields = [
        f"{wire.ITEM_WORDS}.title^{TITLE_WEIGHT}",
        f"{wire.ITEM_WORDS}.attributes",
    ]
    words = {"combined_fields": {"query": " ".join(query.words), "fields": fields}}
    return {"bool": {"must": words, **unseen_filter(query.seen, query.only)["bool"]}}


@dataclass(frozen=True, eq=False)
class Words:
    """An inverted index of items in memory.

    Attributes:
        item_numbers: (n,).
        postings: word -> positions of the items that have it, and its BM25 in each of them.
        mean_length: of the items, in words.
    """

    item_numbers: Int64
    postings: Mapping[str, tuple[NDArray[np.intp], NDArray[np.float64]]]
    mean_length: float

    @classmethod
    def of(
        cls,
        items: Mapping[int, tuple[str, Mapping[str, Any]]],
        among: Self | None = None,
    ) -> Self:
        """Build the index.

        Args:
            items: number -> title and attributes.
            among: the index whose frequencies of words count, so that scores of both compare; None: this one.
        """
        places: dict[str, list[int]] = {}
        counts: dict[str, list[int]] = {}
        lengths = np.zeros(len(items))
        for place, (title, attributes) in enumerate(items.values()):
            values = [
                value
                for each in attributes.values()
                if isinstance(each, list)
                for value in each
            ]
            found: dict[str, int] = {}
            for text, weight in (
                (title, TITLE_WEIGHT),
                *((value, 1) for value in values),
            ):
                for word in _words(text):
                    found[word] = found.get(word, 0) + weight
            lengths[place] = sum(found.values())
            for word, count in found.items():
                places.setdefault(word, []).append(place)
                counts.setdefault(word, []).append(count)
        mean_length = (
            among.mean_length if among else max(lengths.sum() / max(len(items), 1), 1.0)
        )
        norms = _K1 * (1 - _B + _B * lengths / mean_length)  # (n,)
        n_items = len(among.item_numbers) if among else len(items)
        postings = {}
        for word, having in places.items():
            rows, often = np.array(having, np.intp), np.array(counts[word], np.float64)
            n_having = len(rows)
            if among:
                n_having = len(among.postings[word][0]) if word in among.postings else 0
            rarity = np.log1p((n_items - n_having + 0.5) / (n_having + 0.5))
            postings[word] = rows, rarity * often * (_K1 + 1) / (often + norms[rows])
        return cls(
            np.fromiter(items, np.int64, len(items)), postings, float(mean_length)
        )

    def find(
        self, words: Sequence[str], seen: NDArray[np.int32], only: Int64 | None = None
    ) -> Hits:
        """The best items of a search, as `TextQuery` limits it, best first; ties by number."""
        scores = np.zeros(len(self.item_numbers))
        for word in words:
            if word in self.postings:
                rows, gains = self.postings[word]
                scores[rows] += gains
        found = (scores > 0) & ~np.isin(self.item_numbers, seen)
        if only is not None:
            found &= np.isin(self.item_numbers, only)
        return best_of(Hits(self.item_numbers[found], scores[found]), NO_HITS, MATCHES)


def searched_words(text: str, ignored: str) -> tuple[str, ...]:
    """The words of a query, each once, without stop words and those to be ignored; all where no others are left."""
    words, left_out = (
        dict.fromkeys(words_of(text)),
        words_of(f"{_STOP_WORDS} {ignored}"),
    )
    return tuple(word for word in words if word not in left_out) or tuple(words)


@per_release
def _loaded_words(base: Release) -> Words:
    """The items that are searched while Elasticsearch does not answer, as they were loaded."""
    items = (
        (number, base.catalogue[number]) for number in base.exact.item_numbers.tolist()
    )
    return Words.of({number: (item.title, item.attributes) for number, item in items})


def words_in_memory(opened: Release) -> Words:
    """`_loaded_words` of a release, or of the one that it extends (`extras.items`)."""
    overlay = getattr(opened, "overlay", None)
    return _loaded_words(overlay.spaces.base if overlay else opened)


@per_release
def changed_words(opened: Release) -> Words:
    """The items that were added or changed since the release (`extras.items`)."""
    items = opened.overlay.items if hasattr(opened, "overlay") else {}
    shown = {
        number: (item.shown.title, item.shown.attributes)
        for number, item in items.items()
    }
    return Words.of(shown, words_in_memory(opened))


def blended(text: NDArray[np.floating], weight: float) -> NDArray[np.intp]:
    """Places of n items in their order by words and by the user's ranker.

    An item's sum is ``weight`` x its share of the best BM25 + (1 - weight) x its share of the first place's NDCG
    discount, 1 / log2(1 + rank): so scores of any ranker need not be compared with BM25's.

    Args:
        text: (n,) BM25 of items in the ranker's order.
        weight: 0 to 1.
    """
    ranked = 1 / np.log2(np.arange(len(text)) + 2)
    best = text.max(initial=0.0)
    return np.argsort(
        -(weight * (text / best if best else text) + (1 - weight) * ranked),
        kind="stable",
    )
