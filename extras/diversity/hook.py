"""Re-rank for diversity (maximal marginal relevance), where the request or the server's settings ask for it.

An item has to differ from those above it to keep its place. Similarity is the inner product of two rows, made of the
channels' vectors and the items' terms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Final

import numpy as np
from flask import Flask
from numpy.typing import NDArray
from pydantic import Field

from data_exchange_center.features import Float32
from data_exchange_center.fusion import Vocabulary
from data_exchange_center.settings import ExtensionSettings
from extras.routes import per_release
from online.recommend.loaded_release import Release
from online.recommend.types import Answer, Ranked, Request, Slate, absent_by_default
from online.web.parts import Parts

STAGE: Final = "diversity"  # among the stages of a request
# Weight of rarity. Without it, more diverse lists are more alike between users: coverage falls, and items are more
# popular.
RARITY: Final = 0.5
Diversity = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class DiversitySettings(ExtensionSettings, env_prefix="RECSYS_SERVER__"):
    """Settings of this extension."""

    diversity: Diversity = 0.0  # of a request that names none; 0: the ranker's order


class DiversityRequest(Request):
    """How different the items of a list are to be."""

    # 0: the ranker's order; 1: as unlike each other as can be; None: the server's
    diversity: Diversity | None = None


class DiversityAnswer(Answer):
    """What a list was re-ranked with."""

    diversity: float | None = absent_by_default(
        None,
        "that the list was re-ranked with; absent where its order is that of the scores",
    )


def register(app: Flask, parts: Parts) -> None:
    """Give requests and answers the field ``diversity``, and re-rank."""
    parts.extend_request(DiversityRequest)
    parts.extend_answer(DiversityAnswer)
    default = DiversitySettings.load().diversity
    parts.recommender.phases.rerank.append(
        partial(rerank, default=default), *([] if default else ["diversity"])
    )


def rerank(slate: Slate, default: float) -> None:
    """Re-rank an answer. ``default``: the diversity of a request that names none."""
    request, opened = slate.request, slate.release
    wanted = request.diversity if isinstance(request, DiversityRequest) else 0
    wanted = default if wanted is None else wanted
    if not wanted:
        return
    with slate.watch.stage(STAGE):
        # of a popular list as of any other
        pool = max(request.size, opened.manifest.recipe.recall.candidates)
        slate.ranked = diversified(
            similar_items(opened), slate.ranked, wanted, request.size, pool
        )
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
        rows = np.zeros((len(itemids), self.rows.shape[1]), np.float32)
        rarities = np.zeros(len(itemids), np.float32)
        codes = Vocabulary(self.itemids).codes(itemids)
        known = codes > 0
        rows[known] = self.rows[codes[known] - 1]
        rarities[known] = self.rarities[codes[known] - 1]
        return rows, rarities


@per_release  # takes some ten milliseconds for four thousand items
def similar_items(opened: Release) -> SimilarItems:
    """Compute the similarity rows and rarities of a release's items."""
    items, popular = opened.exact, opened.popular
    shares = np.zeros(len(items.item_numbers))
    listed = np.isin(popular.ids, items.item_numbers)
    places = np.searchsorted(items.item_numbers, popular.ids[listed])
    shares[places] = popular.scores[listed]
    flags = np.zeros((len(items.item_numbers), len(opened.spec.genres)), np.float32)
    for code, positions in items.terms.items():
        flags[positions, code - 1] = 1
    return SimilarItems(
        items.item_numbers,
        similarity_rows(list(items.vectors.values()), flags),
        rarity(shares),
    )


def diversified(
    similar: SimilarItems, ranked: Ranked, diversity: float, size: int, pool: int
) -> Ranked:
    """Reorder ranked items so that the first ``size`` are diverse; unchanged without vectors and terms.

    ``pool``: how many of the best-ranked items they are chosen from.
    """
    if not similar.rows.shape[1]:
        return ranked
    chosen = diverse_order(*similar.among(ranked.item_numbers[:pool]), diversity, size)
    order = np.concatenate([chosen, np.arange(len(chosen), len(ranked.item_numbers))])
    return replace(ranked, order=order)


# --- the order, and what it is made of


def diverse_order(
    rows: Float32, rarities: Float32, diversity: float, size: int
) -> NDArray[np.intp]:
    """(n,) places of n ranked items in another order: the first ``size`` chosen one by one, the others as they were.

    Each choice has the highest (1 - diversity) * relevance - diversity * (similarity - `RARITY` * rarity): maximal
    marginal relevance (Carbonell & Goldstein 1998), where the similarity is the mean one to all that are chosen (Smyth
    & McClave 2001). Relevance is 1 / log2(1 + rank), the NDCG's discount, so no ranker's scores are needed. Of equals
    the better ranked is chosen. A longer list begins with the shorter one.

    Args:
        rows: (n, d) in the ranker's order; inner products say how alike items are.
        rarities: (n,) from 0 to 1.
        diversity: from 0, the ranker's order, to 1, where the ranker has only chosen the candidates.
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
    """(n,) shares of the users who like an item -> self-information, -log share, over that of the rarest: 0 to 1.

    An item that nobody is known to like counts as the rarest.
    """
    rarest = shares.min(initial=1, where=shares > 0)
    if rarest >= 1:
        return np.zeros(len(shares), np.float32)
    rarities: Float32 = np.log(np.clip(shares, rarest, 1)) / np.log(rarest)
    return rarities.astype(np.float32)


def similarity_rows(vectors: Sequence[Float32], flags: Float32) -> Float32:
    """(n, d) rows: the inner product of two is how alike the items are, at most 1.

    Half of it is the cosine of their terms, half the mean cosine of their vectors as they are indexed; where there are
    no vectors, or no terms, the other half is all. A missing vector or term counts as 0. Popularity, where it is a
    dimension of the vectors, makes items alike, too.

    Args:
        vectors: of each channel (n, dim), NaN for an item without one.
        flags: (n, terms) 0/1.
    """
    sides = [_directions(flags)] if flags.shape[1] else []
    if vectors:
        of_channels = [_directions(np.nan_to_num(each)) for each in vectors]
        sides.append(np.hstack(of_channels) / np.sqrt(len(vectors)))
    if not sides:
        return np.zeros((len(flags), 0), np.float32)
    rows: Float32 = (np.hstack(sides) / np.sqrt(len(sides))).astype(np.float32)
    return rows


def _directions(rows: Float32) -> NDArray[np.float64]:
    """Rows scaled to length 1; zero rows stay zero."""
    lengths = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    return rows / np.where(lengths > 0, lengths, np.inf)
