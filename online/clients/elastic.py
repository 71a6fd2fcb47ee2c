"""Elasticsearch: the candidates for a user, and the catalogue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from elastic_transport.client_utils import DEFAULT
from elasticsearch import ApiError, Elasticsearch, NotFoundError, TransportError
from elasticsearch.exceptions import SerializationError
from numpy.typing import NDArray

from data_exchange_center import wire
from data_exchange_center.recipes import RecallRecipe
from data_exchange_center.settings import ElasticsearchSettings
from online.clients.base import Client

_CONNECTIONS = 64  # per process; more than a worker has threads
_PAGE = 2000  # documents per request when the catalogue is read


@dataclass(frozen=True, slots=True, eq=False)
class ItemQuery:
    """Items of a release by genre and vector, without the seen ones. Empty ``terms`` is the pure vector query."""

    release: str
    terms: Sequence[int]  # genre codes; an item with at least one of them earns `recall.term_weight`
    vector: NDArray[np.float32] | None  # (dim,); an item near it earns `recall.vector_weight` x its score
    seen: Sequence[int] | NDArray[np.int32] = ()
    recall: RecallRecipe = field(default_factory=RecallRecipe)


@dataclass(frozen=True, slots=True, eq=False)
class Hits:
    """At most ``recall.candidates`` items, best first."""

    itemids: NDArray[np.int32]  # (n,)
    scores: NDArray[np.float32]  # (n,)


@dataclass(frozen=True, slots=True)
class CatalogueItem:
    """What is shown of an item."""

    title: str
    genres: tuple[int, ...]  # genre codes


class ElasticItems(Client[ItemQuery, Hits]):
    """Hybrid recall: genre terms and inner product with the user's vector in one `bool` query.

    The vector part is a `knn` query inside the `bool`, not the search's own `knn` section: the section makes
    Elasticsearch run one more phase per search, and the scores add up all the same.
    """

    service: ClassVar[str] = "elasticsearch"
    library_errors: ClassVar[tuple[type[Exception], ...]] = (ApiError, TransportError, SerializationError)

    def __init__(self, settings: ElasticsearchSettings) -> None:
        password = settings.password
        self._es = Elasticsearch(
            settings.url,
            basic_auth=(settings.user, password.get_secret_value()) if password else None,
            ca_certs=str(settings.ca_certs) if settings.ca_certs else DEFAULT,
            request_timeout=settings.timeout_s,
            max_retries=0,
            retry_on_timeout=False,
            connections_per_node=_CONNECTIONS,
        )

    def _call(self, query: ItemQuery) -> Hits:
        if not query.terms and query.vector is None:
            return Hits(np.empty(0, np.int32), np.empty(0, np.float32))
        found = self._es.search(
            index=wire.item_index(query.release),
            size=query.recall.candidates,
            query=hybrid_query(query),
            track_total_hits=False,
            source=False,
            stored_fields="_none_",
            docvalue_fields=[{"field": wire.ITEM_ID}],
            filter_path="hits.hits._score,hits.hits.fields,timed_out,_shards.failed",
        ).body
        self._whole(found)
        hits = found.get("hits", {}).get("hits", [])  # filter_path leaves empty lists out
        return Hits(
            np.fromiter((hit["fields"][wire.ITEM_ID][0] for hit in hits), np.int32, len(hits)),
            np.fromiter((hit["_score"] for hit in hits), np.float32, len(hits)),
        )

    def count(self, release: str, genre: int) -> int:
        """How many items of a release have a genre code. Raises ServiceError."""
        with self._asking("count"):
            found = self._es.count(index=wire.item_index(release), query={"term": {wire.ITEM_GENRES: genre}})
            return int(found["count"])

    def catalogue(self, release: str) -> dict[int, CatalogueItem]:
        """Every item of a release by itemid. Raises ServiceError."""
        items: dict[int, CatalogueItem] = {}
        after: list[int] | None = None
        while True:
            with self._asking("catalogue"):
                page = self._es.search(
                    index=wire.item_index(release),
                    size=_PAGE,
                    sort=[{wire.ITEM_ID: "asc"}],
                    search_after=after,
                    source_includes=[wire.ITEM_ID, wire.ITEM_TITLE, wire.ITEM_GENRES],
                    track_total_hits=False,
                ).body
                self._whole(page)
            hits = page["hits"]["hits"]
            for hit in hits:
                source = hit["_source"]
                items[source[wire.ITEM_ID]] = CatalogueItem(source[wire.ITEM_TITLE], tuple(source[wire.ITEM_GENRES]))
            if len(hits) < _PAGE:
                return items
            after = hits[-1]["sort"]

    def _whole(self, found: dict[str, Any]) -> None:
        if found.get("timed_out") or found.get("_shards", {}).get("failed"):
            raise self._wrong("answered from a part of its index only")

    def _ping(self) -> str:
        health = self._es.cluster.health(filter_path="status")
        if health["status"] == "red":
            raise self._wrong("is up, but its cluster is red")
        nodes = self._es.nodes.info(metric="http", filter_path="nodes.*.version")
        return ", ".join(sorted({node["version"] for node in nodes["nodes"].values()}))

    def _is_gone(self, error: Exception) -> bool:
        return isinstance(error, NotFoundError)

    def close(self) -> None:
        self._es.close()


def hybrid_query(query: ItemQuery) -> dict[str, Any]:
    """The search's `query`: what matches earns a score, what was seen is out.

    The seen filter stands inside the `knn` query, so that its neighbours are neighbours among the unseen, and
    outside, for the items that the genres bring in.
    """
    unseen = {"bool": {"must_not": {"terms": {wire.ITEM_ID: np.asarray(query.seen, dtype=np.int64).tolist()}}}}
    should: list[dict[str, Any]] = []
    if query.terms:
        genres = list(query.terms)
        should.append({"terms": {wire.ITEM_GENRES: genres, "boost": query.recall.term_weight}})
    if query.vector is not None:
        should.append(
            {
                "knn": {
                    "field": wire.ITEM_VECTOR,
                    "query_vector": query.vector.tolist(),
                    "num_candidates": query.recall.num_candidates,
                    "filter": unseen,
                    "boost": query.recall.vector_weight,
                }
            }
        )
    return {"bool": {"should": should, "minimum_should_match": 1, **unseen["bool"]}}
