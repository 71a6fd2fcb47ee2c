"""Diversity: after ranking, places are traded for difference, where the request or the server's settings want that."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Final

import numpy as np
from flask import Flask
from numpy.typing import NDArray
from pydantic import Field

from data_exchange_center.features import Float32
from data_exchange_center.fusion import Vocabulary
from extras.diversity.diversity import diverse_order, rarity, similarity_rows
from online.recommend.recommend import Slate
from online.recommend.release import Release, per_release
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
    parts.recommender.before_answer.append(partial(rerank, default=parts.settings.server.diversity))


def rerank(slate: Slate, default: float) -> None:
    """Re-rank an answer. ``default``: the diversity of a request that names none."""
    request, opened = slate.timed.request, slate.opened
    wanted = request.diversity if isinstance(request, DiversityRequest) else 0
    wanted = default if wanted is None else wanted
    if not wanted or opened is None:
        return
    with slate.timed.watch.stage(STAGE):
        pool = max(request.size, opened.manifest.recipe.recall.candidates)  # of a popular list as of any other
        slate.ranked = diversified(similar_items(opened), slate.ranked, wanted, request.size, pool)
    if slate.ranked.order is not None:
        slate.more["diversity"] = wanted


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

    def among(self, itemids: NDArray[np.integer]) -> tuple[Float32, Float32]:
        """(k, d) rows and (k,) rarities of some items; 0 for one that is not held: like no other, and as if popular."""
        rows, rarities = np.zeros((len(itemids), self.rows.shape[1]), np.float32), np.zeros(len(itemids), np.float32)
        codes = Vocabulary(self.itemids).codes(itemids)
        known = codes > 0
        rows[known], rarities[known] = self.rows[codes[known] - 1], self.rarities[codes[known] - 1]
        return rows, rarities


@per_release  # in some ten milliseconds for four thousand items
def similar_items(opened: Release) -> SimilarItems:
    """What is alike in a release."""
    items, popular = opened.exact, opened.popular
    shares = np.zeros(len(items.itemids))
    listed = np.isin(popular.ids, items.itemids)
    shares[np.searchsorted(items.itemids, popular.ids[listed])] = popular.scores[listed]
    flags = np.zeros((len(items.itemids), len(opened.spec.genres)), np.float32)
    for code, positions in items.terms.items():
        flags[positions, code - 1] = 1
    return SimilarItems(items.itemids, similarity_rows(list(items.vectors.values()), flags), rarity(shares))


def diversified(similar: SimilarItems, ranked: Ranked, diversity: float, size: int, pool: int) -> Ranked:
    """The same, with an order in which the first ``size`` are shown; as it is where nothing says what is alike.

    ``pool``: how many of the best they are chosen from.
    """
    if not similar.rows.shape[1]:
        return ranked
    chosen = diverse_order(*similar.among(ranked.itemids[:pool]), diversity, size)
    order = np.concatenate([chosen, np.arange(len(chosen), len(ranked.itemids))])
    return replace(ranked, order=order)
