"""Free-text search: `"query": "animated films for children"` in a request, ordered by the words and the user's ranker.

Items that have words of the query, and with an encoder of sentences (`meaning`) those that are near to what it means,
take the place of recall's candidates. The ranking model scores those that recall would rank first and the best matches;
`text.blended` mixes both orders. What a request leaves out is left out of the search, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Annotated, Any, Final, cast

import numpy as np
from flask import Flask
from numpy.typing import NDArray
from pydantic import AfterValidator, Field, PrivateAttr

from data_exchange_center.candidates import Candidates, StoredUser
from data_exchange_center.fusion import NO_HITS, Hits
from data_exchange_center.words import words_of
from extras.questions import where
from extras.questions.rank import among, kept
from extras.search import text
from extras.search.meaning import (
    NearItems,
    NearQuery,
    SearchSettings,
    Sentences,
    fused,
)
from extras.search.text import (
    MATCHES,
    Int64,
    TextItems,
    TextQuery,
    blended,
    searched_words,
)
from online.clients.base import ServiceError, current, until
from online.clients.elastic import best_of
from online.clients.triton import TritonScores
from online.recommend.loaded_release import Release
from online.recommend.outcomes import Degradation, Outcome
from online.recommend.recommend import ENCODER_SHARE, RECALL_SHARE, Recommender
from online.recommend.types import Request, Slate
from online.web.parts import Parts

MAX_LENGTH: Final = 200  # characters of a query
BY_TEXT: Final = 100  # best matches that are ranked
# matching items that recall places first and that are ranked, too
BY_RECALL: Final = 200
NO_MATCH: Final = ("query", "No more items match the query.")
BY_WORDS: Final = "words"  # what an answer has instead of matches by meaning
_NOTHING: Final = np.empty(0, np.int32)


def _with_words(query: str) -> str:
    if not words_of(query):
        raise ValueError("has no letter or digit")
    return query


class SearchRequest(Request):
    """With words that items must have."""

    query: Annotated[
        str, Field(min_length=1, max_length=MAX_LENGTH), AfterValidator(_with_words)
    ] = Field(
        default_factory=str,
        description="words that title or attributes of the items have: any of them, rare ones first",
    )
    _hits: Hits = PrivateAttr(default=NO_HITS)  # what the search found, for all stages
    # what the search did without
    _lacks: list[Degradation] = PrivateAttr(default_factory=list)


def register(app: Flask, parts: Parts) -> None:
    """The field ``query`` of requests."""
    recommender = parts.recommender
    search = Search(recommender, parts.stores)
    parts.extend_request(SearchRequest)
    recommender.phases.release.append(search.prepared)
    recommender.phases.candidates.append(search.choose, "query")
    recommender.phases.rerank.append(search.reorder, "query")


class Search:
    """Search by words in requests. Shared by threads."""

    def __init__(self, recommender: Recommender, stores: Mapping[str, Any]) -> None:
        """``stores``: "search", "sentences" and "near" are clients in the place of the services'."""
        self._by_meaning = bool(SearchSettings.load().encoder)
        items, scorer = recommender.items, cast(TritonScores, recommender.scorer)
        self._client: TextItems = stores.get("search") or TextItems(items)
        if self._by_meaning:
            self._sentences: Sentences = stores.get("sentences") or Sentences(scorer)
            self._near: NearItems = stores.get("near") or NearItems(items)

    def prepared(self, opened: Release) -> Release:
        """The release, for which all is loaded here that requests need: its words, and the encoder's tokenizer."""
        text.words_in_memory(opened)
        if self._by_meaning:
            with suppress(ServiceError):  # it is logged; the first query tries again
                self._sentences.prepare()
        return opened

    def choose(
        self, request: Any, opened: Release, user: StoredUser, found: Candidates
    ) -> Candidates:
        """The matching items of a `SearchRequest` in the place of the candidates, in recall's order.

        Raises ServiceError.
        """
        request._hits = hits = self._find(request, opened, user.seen, user.only)
        found = among(request, opened, user, found, np.unique(hits.ids))
        first = np.arange(len(found.item_numbers)) < BY_RECALL
        return found.only(first | np.isin(found.item_numbers, hits.ids[:BY_TEXT]))

    def reorder(self, slate: Slate) -> None:
        """Mix the order by words with the ranker's, or with the popular list's. Raises ServiceError."""
        request: Any = slate.request
        slate.end = NO_MATCH
        if slate.candidates is None:  # a popular list
            only = where.allowed_items(request, slate.release)
            slate.more["cold_start"] = slate.user is None and not slate.degraded
            with until(slate.deadline):
                request._hits = self._find(request, slate.release, _NOTHING, only)
        there = {(each.service, each.instead) for each in slate.degraded}
        for each in request._lacks:
            if (each.service, each.instead) not in there:
                slate.degraded.append(each)
        hits = request._hits
        ranked = kept(slate.ranked, np.isin(slate.ranked.item_numbers, hits.ids))
        ordered = np.argsort(hits.ids)
        places = np.searchsorted(hits.ids, ranked.item_numbers, sorter=ordered)
        text_scores = hits.scores[ordered[places]]
        slate.ranked = kept(ranked, blended(text_scores))

    def _find(
        self,
        request: SearchRequest,
        opened: Release,
        seen: NDArray[np.int32],
        only: Int64 | None,
    ) -> Hits:
        """The matching items, best first. Raises ServiceError for a strict request."""
        request._lacks = []
        words, until_found = (
            searched_words(request.query),
            current().share(RECALL_SHARE),
        )
        query = TextQuery(opened.release, words, seen, only)
        try:
            hits = self._client.call(query, until_found, strict=request.strict)
        except ServiceError as error:
            _lack(request, Outcome.EXACT_SEARCH, error)
            hits = text.words_in_memory(opened).find(query)
        changed = text.changed_words(opened)
        hits = _without(hits, changed.item_numbers)
        found = best_of(hits, changed.find(query), MATCHES)
        if not self._by_meaning or request._lacks:
            return found
        near = self._find_near(request, query)
        return fused(found, _without(near, changed.item_numbers))

    def _find_near(self, request: SearchRequest, limits: TextQuery) -> Hits:
        """The items that are nearest to what the query means. Raises ServiceError for a strict request."""
        strict, encoding = request.strict, current().share(ENCODER_SHARE)
        try:
            vector = self._sentences.call(request.query, encoding, strict=strict)
            query = NearQuery(limits.release, vector, limits.seen, limits.only)
            return self._near.call(query, current().share(RECALL_SHARE), strict=strict)
        except ServiceError as error:
            _lack(request, Outcome.NOT_ENCODED, error, instead=BY_WORDS)
            return NO_HITS


def _lack(
    request: SearchRequest, outcome: Outcome, error: ServiceError, **more: str
) -> None:
    """Note what the search does without. Raises the error for a strict request."""
    if request.strict:
        raise error
    lacks = Degradation.of(outcome, error.service, error.what)
    request._lacks.append(lacks.model_copy(update=more))


def _without(hits: Hits, numbers: Int64) -> Hits:
    kept = ~np.isin(hits.ids, numbers)
    return Hits(hits.ids[kept], hits.scores[kept])
