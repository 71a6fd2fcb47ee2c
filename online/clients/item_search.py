"""How candidates are asked for: a channel's search as Elasticsearch is told it, and what it finds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from data_exchange_center import wire
from data_exchange_center.columns import vector_of
from data_exchange_center.feature_kinds import Float32
from data_exchange_center.fusion import Hits
from data_exchange_center.index_scores import product_of_score
from data_exchange_center.recipes import RecallRecipe, VectorRecipe

# Scores are float32: beside the 1 that Elasticsearch adds, products of a hundredth would lose the digits that tell them
# apart. A search by vector alone therefore uses a multiple of the vector; a power of two changes none of its digits.
_MAGNIFIED: Final = np.float32(1024)
# Ties by itemid. Where a search by vector ends among ties, Lucene keeps the documents that were loaded first: those of
# the smaller itemids, too, as an index is loaded in their order and merged to one segment.
# What hits are sorted by is part of the answer: all that is wanted of them, and nothing is fetched.
_SORT: Final = [{"_score": "desc"}, {wire.ITEM_ID: "asc"}]
FOUND: Final = "hits.hits.sort"  # what `found` reads, as a ``filter_path``


@dataclass(frozen=True, slots=True, eq=False)
class ItemQuery:
    """Items of a release without the seen ones, as each searched channel finds them.

    A channel searches by its vector, and by genre where its recipe gives genres a weight.
    """

    release: str
    recall: RecallRecipe
    vectors: Mapping[str, Float32]  # channel name -> (dim,); an item near it earns `vector_weight` x its score
    terms: Sequence[int] = ()  # genre codes; an item with at least one of them earns `term_weight`
    seen: Sequence[int] | NDArray[np.int32] = ()


def unseen_filter(seen: Sequence[int] | NDArray[np.int32]) -> dict[str, Any]:
    return {"bool": {"must_not": {"terms": {wire.ITEM_ID: np.asarray(seen, dtype=np.int64)}}}}


def channel_query(channel: VectorRecipe, query: ItemQuery, unseen: dict[str, Any]) -> dict[str, Any] | None:
    """One search's ``query``; seen items are excluded. None: the channel has neither vector nor genres for this user.

    The vector part is a `knn` query, not the search's own `knn` section: the section makes Elasticsearch run one more
    phase a search, and the scores are the same. The seen filter stands inside it, so that its neighbours are
    neighbours among the unseen; and outside where genres bring in items of their own.
    """
    alone = not query.terms or channel.term_weight <= 0
    near: dict[str, Any] | None = None
    if (vector := query.vectors.get(channel.name)) is not None:
        near = {
            "knn": {
                "field": vector_of(channel.name),
                "query_vector": vector * _MAGNIFIED if alone else vector,
                "k": query.recall.num_candidates,  # without it, newer versions take the search's size
                "num_candidates": query.recall.num_candidates,
                "filter": unseen,
                "boost": channel.vector_weight,
            }
        }
    if alone:
        return near
    alike = {"terms": {wire.ITEM_GENRES: list(query.terms), "boost": channel.term_weight}}
    return {"bool": {"should": [alike, near] if near else [alike], "minimum_should_match": 1, **unseen["bool"]}}


def inner_products(scores: NDArray[np.float64], channel: VectorRecipe) -> NDArray[np.float64]:
    """The inner products behind the scores of a search by vector alone."""
    return product_of_score(scores / channel.vector_weight) / _MAGNIFIED


def search_body(search: dict[str, Any], size: int) -> dict[str, Any]:
    """The body of a search that `found` can read."""
    return {
        "query": search,
        "size": size,
        "sort": _SORT,
        "track_total_hits": False,
        "_source": False,
        "stored_fields": "_none_",
    }


def found(answer: Mapping[str, Any], channel: VectorRecipe, *, by_vector_alone: bool) -> Hits:
    """The hits in the answer to one search."""
    hits = answer.get("hits", {}).get("hits", [])  # filter_path leaves empty lists out
    keys = np.array([key for hit in hits for key in hit["sort"]], np.float64).reshape(-1, len(_SORT))  # score, itemid
    scores = keys[:, 0]
    return Hits(keys[:, 1].astype(np.int64), inner_products(scores, channel) if by_vector_alone else scores)
