"""Free-text search: `"query": "animated films for children"` in a request, ordered by the words and the user's ranker.

Items that have words of the query take the place of recall's candidates. The ranking model scores those that recall
would rank first, and those with the best BM25, and `text.blended` mixes both orders. What a request leaves out is left
out of the search, too.
"""

from __future__ import annotations

from typing import Annotated, Final

import numpy as np
from flask import Flask
from numpy.typing import NDArray
from pydantic import AfterValidator, Field, PrivateAttr

from data_exchange_center import wire
from data_exchange_center.candidates import Candidates, StoredUser
from data_exchange_center.fusion import NO_HITS, Hits
from data_exchange_center.settings import ExtensionSettings
from extras.questions import where
from extras.questions.rank import among, kept
from extras.search import text
from extras.search.text import MATCHES, Int64, TextItems, TextQuery, Words, blended, searched_words
from online.clients.base import Client, LimitedClient, ServiceError, current, until
from online.clients.elastic import best_of
from online.recommend.fallback import degradation_of
from online.recommend.loaded_release import Release
from online.recommend.outcomes import Outcome
from online.recommend.recommend import RECALL_SHARE, Recommender
from online.recommend.types import Request, Slate
from online.web.parts import Parts

MAX_LENGTH: Final = 200  # characters of a query
BY_TEXT: Final = 100  # items with the best BM25 that are ranked
BY_RECALL: Final = 200  # matching items that recall places first and that are ranked, too
EXPECTED: Final = {"query": f"a string of 1 to {MAX_LENGTH} characters, a letter or digit among them"}
NO_MATCH: Final = ("query", "No more items match the query.")
_NOTHING: Final = np.empty(0, np.int32)


class SearchSettings(ExtensionSettings, env_prefix="RECSYS_SEARCH__"):
    """Settings of this extension."""

    # of the BM25's order, against the ranker's; chosen by `make evaluate-search`
    text_weight: Annotated[float, Field(ge=0, le=1)] = 0.6
    ignored: str = "film films movie movies"  # words of queries that say nothing in this catalogue


def _with_words(query: str) -> str:
    if not wire.words_of(query):
        raise ValueError("has no letter or digit")
    return query


class SearchRequest(Request):
    """With words that items must have."""

    query: Annotated[str, Field(min_length=1, max_length=MAX_LENGTH), AfterValidator(_with_words)] = Field(
        default_factory=str,
        description="words that title or attributes of the items have: any of them, rare ones first",
    )
    _hits: Hits = PrivateAttr(default=NO_HITS)  # what the search found, for all stages
    _problem: ServiceError | None = PrivateAttr(default=None)  # why it was searched in memory


def register(app: Flask, parts: Parts) -> None:
    """The field ``query`` of requests."""
    recommender = parts.recommender
    search = Search(recommender, parts.stores.get("search") or TextItems(recommender.items))
    parts.extend_request(SearchRequest, **EXPECTED)
    recommender.phases.release.append(indexed)
    recommender.phases.candidates.append(search.choose, "query")
    recommender.phases.rerank.append(search.reorder, "query")


def indexed(opened: Release) -> Release:
    """The release, whose words are indexed here, before requests need them."""
    text.words_in_memory(opened)
    return opened


class Search:
    """Search by words in requests. Shared by threads."""

    def __init__(self, recommender: Recommender, client: Client[TextQuery, Hits]) -> None:
        settings = SearchSettings.load()
        self._recommender, self._client = recommender, client
        self._weight, self._ignored = settings.text_weight, settings.ignored

    def words(self, request: SearchRequest) -> tuple[str, ...]:
        return searched_words(request.query, self._ignored)

    def choose(self, request: Request, opened: Release, user: StoredUser, found: Candidates) -> Candidates:
        """The matching items in the place of the candidates, in recall's order. Raises ServiceError."""
        if not isinstance(request, SearchRequest):
            return found
        request._hits = hits = self._find(request, opened, user.seen, user.only)
        found = among(request, opened, user, found, np.unique(hits.ids))
        first = np.arange(len(found.item_numbers)) < BY_RECALL
        return found.only(first | np.isin(found.item_numbers, hits.ids[:BY_TEXT]))

    def reorder(self, slate: Slate) -> None:
        """Mix the order by words with the ranker's, or with the popular list's. Raises ServiceError."""
        request, opened = slate.timed.request, slate.opened
        if not isinstance(request, SearchRequest):
            return
        slate.end = NO_MATCH
        if opened is None:
            if slate.saved is not None:
                items = slate.saved.item_list
                saved = Words.of({n: (item.title, item.model_extra or {}) for n, item in enumerate(items)})
                hits = saved.find(self.words(request), _NOTHING)
                scored = dict(zip(hits.ids.tolist(), hits.scores.tolist(), strict=True))
                matching = sorted(scored)
                order = blended(np.array([scored[n] for n in matching]), self._weight)
                items[:] = [items[matching[place]] for place in order.tolist()]
            return
        if slate.candidates is None:  # a popular list
            only = where.allowed_items(request, opened)
            cold_start = slate.user is None and not slate.degraded
            with until(slate.timed.deadline):
                request._hits = self._find(request, opened, _NOTHING, only)
            slate.more["cold_start"] = cold_start
        if (problem := request._problem) is not None:
            lacks = degradation_of(problem, Outcome.EXACT_SEARCH)
            if all(each.service != lacks.service for each in slate.degraded):
                slate.degraded.append(lacks)
        ranked = slate.ranked
        ordered = np.argsort(request._hits.ids)
        ids, scores = request._hits.ids[ordered], request._hits.scores[ordered]
        ranked = kept(ranked, np.isin(ranked.item_numbers, ids))
        text_scores = scores[np.searchsorted(ids, ranked.item_numbers)]
        slate.ranked = kept(ranked, blended(text_scores, self._weight))

    def _find(self, request: SearchRequest, opened: Release, seen: NDArray[np.int32], only: Int64 | None) -> Hits:
        """The matching items, best first. Raises ServiceError for a strict request."""
        short = 0 < request.budget_ms < self._recommender.server.budget_ms
        breaker = self._recommender.breakers[self._client.service]
        client = LimitedClient(self._client, breaker, current().share(RECALL_SHARE), request.strict, short)
        request._problem, words = None, self.words(request)
        try:
            hits = client.call(TextQuery(opened.release, words, seen, only))
        except ServiceError as error:
            if request.strict:
                raise
            request._problem, hits = error, text.words_in_memory(opened).find(words, seen, only)
        changed = text.changed_words(opened)
        old = ~np.isin(hits.ids, changed.item_numbers)
        return best_of(Hits(hits.ids[old], hits.scores[old]), changed.find(words, seen, only), MATCHES)
