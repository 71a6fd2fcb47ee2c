"""Diversity: after ranking, places are traded for difference, where the request or the server's settings want that."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Final
from weakref import WeakKeyDictionary

import numpy as np
from flask import Flask
from numpy.typing import NDArray
from pydantic import Field

from data_exchange_center.features import Float32
from data_exchange_center.fusion import Hits, Vocabulary
from extras.diversity.diversity import diverse_order, rarity, similarity_rows
from online.recommend.fallback import ExactItems
from online.recommend.recommend import Slate
from online.recommend.release import Release
from online.recommend.types import Answer, Ranked, Request
from online.web.parts import Parts

STAGE: Final = "diversity"  # among the stages of a request
Diversity = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class DiversityRequest(Request):
    """How different the items of a list are to be."""

    diversity: Diversity | None = None  # 0: the ranker's order; 1: as unlike each other as can be; None: the server's


class DiversityAnswer(Answer):
    """What a list was re-ranked with."""

    diversity: float | None = Field(
        default=None,
        description="that the list was re-ranked with; absent where its order is that of the scores",
        exclude_if=lambda diversity: diversity is None,
    )


def register(app: Flask, parts: Parts) -> None:
    """Give requests and answers the field ``diversity``, and re-rank."""
    parts.extend_request(DiversityRequest, diversity="a number from 0, the ranking model's order, to 1")
    parts.extend_answer(DiversityAnswer)
    parts.recommender.before_answer.append(Diversifier(parts.settings.server.diversity))


class Diversifier:
    """Re-ranks answers. ``default``: the diversity of a request that names none."""

    def __init__(self, default: float) -> None:
        self._default = default
        # Made when the first request wants it, in some ten milliseconds for four thousand items
        self._similar: WeakKeyDictionary[Release, SimilarItems] = WeakKeyDictionary()

    def __call__(self, slate: Slate) -> None:
        request, opened = slate.timed.request, slate.opened
        wanted = request.diversity if isinstance(request, DiversityRequest) else 0
        wanted = self._default if wanted is None else wanted
        if not wanted or opened is None:
            return
        with slate.timed.watch.stage(STAGE):
            pool = max(request.size, opened.manifest.recipe.recall.candidates)  # of a popular list as of any other
            slate.ranked = diversified(self._items(opened), slate.ranked, wanted, request.size, pool)
        if slate.ranked.order is not None:
            slate.more["diversity"] = wanted

    def _items(self, opened: Release) -> SimilarItems:
        similar = self._similar.get(opened)
        if similar is None:
            similar = self._similar[opened] = SimilarItems.of(opened.exact, opened.popular, len(opened.spec.genres))
        return similar


@dataclass(frozen=True, eq=False)
class SimilarItems:
    """Similarity and rarity of a release's items that the server holds copies of.

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
        codes = Vocabulary(self.itemids).codes(itemids)
        known = codes > 0
        rows[known], rarities[known] = self.rows[codes[known] - 1], self.rarities[codes[known] - 1]
        return rows, rarities


def diversified(similar: SimilarItems, ranked: Ranked, diversity: float, size: int, pool: int) -> Ranked:
    """The same, with an order in which the first ``size`` are shown; as it is where nothing says what is alike.

    ``pool``: how many of the best they are chosen from.
    """
    if not similar.rows.shape[1]:
        return ranked
    chosen = diverse_order(*similar.among(ranked.itemids[:pool]), diversity, size)
    order = np.concatenate([chosen, np.arange(len(chosen), len(ranked.itemids))])
    return replace(ranked, order=order)
