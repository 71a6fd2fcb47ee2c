"""Elasticsearch: the candidates for a user.

First the query of a channel's search, then the client, and how it reads scores from the answer.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, ClassVar, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from data_exchange_center import wire
from data_exchange_center.candidates import ItemQuery
from data_exchange_center.dataset import OwnId
from data_exchange_center.fusion import Hits
from data_exchange_center.recipes import RecallRecipe, VectorRecipe
from data_exchange_center.settings import ElasticsearchSettings
from online.clients.base import GoneError, ServiceError
from online.clients.http import HttpClient

# Scores are float32: next to the 1 that Elasticsearch adds, products of a hundred-thousandth would lose the digits in
# which they differ. A search by vector alone uses a multiple of the vector; a power of two changes none of its digits.
_MAGNIFIED: Final = np.float32(2**20)
_BY_FLOATS: Final = (
    "flat",
    "hnsw",
)  # indices; quantized ones clip a query to the range of their items' components
# Ties by number. Where a search by vector is cut off among ties, Lucene keeps the documents that were loaded first:
# those with the smaller numbers, as an index is loaded in their order and merged to one segment.
# The sort keys of each hit, which are part of the answer, hold score and number: no field has to be fetched.
KEYS_ONLY: Final = {
    "sort": [{"_score": "desc"}, {wire.ITEM_NUMBER: "asc"}],
    "track_total_hits": False,
    "_source": False,
    "stored_fields": "_none_",
}
_MAX_TERMS: Final = 65_536  # of one terms query, by Elasticsearch's default


def unseen_filter(
    seen: Sequence[int] | NDArray[np.int32], only: NDArray[np.int64] | None = None
) -> dict[str, Any]:
    """The items that may be found: none that was seen, and, where ``only`` is given, none but those."""
    allowed: dict[str, Any] = {"must_not": _any_of(seen)}
    if only is not None:
        allowed["filter"] = {"bool": {"should": _any_of(only)}}
    return {"bool": allowed}


def _any_of(numbers: Sequence[int] | NDArray[np.integer]) -> list[dict[str, Any]]:
    """Queries that find the items, each of as many as one may name."""
    ids = np.asarray(numbers, dtype=np.int64)
    starts = range(0, max(len(ids), 1), _MAX_TERMS)
    return [
        {"terms": {wire.ITEM_NUMBER: ids[start : start + _MAX_TERMS]}}
        for start in starts
    ]


def channel_query(
    channel: VectorRecipe, query: ItemQuery, allowed: dict[str, Any]
) -> dict[str, Any] | None:
    """Build the query of a channel's search among the ``allowed`` items. None: the user has no vector and no genres.

    The vector part is a `knn` query, not the search's own `knn` section: the section makes Elasticsearch run one more
    phase per search, and the scores are the same. The filter is part of it, so that its neighbours are allowed items,
    and is repeated outside where genres add further items.
    """
    alone = not query.terms or channel.term_weight <= 0
    near: dict[str, Any] | None = None
    if (vector := query.vectors.get(channel.name)) is not None:
        near = {
            "knn": {
                "field": wire.vector_of(channel.name),
                "query_vector": vector * magnified(query.recall) if alone else vector,
                "k": query.recall.num_candidates,  # without it, newer versions take the search's size
                "num_candidates": query.recall.num_candidates,
                "filter": allowed,
                "boost": channel.vector_weight,
            }
        }
    if alone:
        return near
    alike = {
        "terms": {wire.ITEM_GENRES: list(query.terms), "boost": channel.term_weight}
    }
    return {
        "bool": {
            "should": [alike, near] if near else [alike],
            "minimum_should_match": 1,
            **allowed["bool"],
        }
    }


def magnified(recall: RecallRecipe) -> np.float32:
    """Factor of the vector, and so of the products, in a search by vector alone."""
    return _MAGNIFIED if recall.index in _BY_FLOATS else np.float32(1)


def best_of(hits: Hits, others: Hits, size: int) -> Hits:
    """Merge the hits of two searches into the best ``size``; ties by number."""
    ids, scores = (
        np.concatenate([hits.ids, others.ids]),
        np.concatenate([hits.scores, others.scores]),
    )
    best = np.lexsort((ids, -scores))[:size]
    return Hits(ids[best], scores[best])


_NEEDED = "responses.status,responses.error.type,responses.timed_out,responses._shards.failed,responses.hits.hits.sort"
_JSON = "Content-Type: application/json"
_LINES = "Content-Type: application/x-ndjson"


Search = Callable[[ItemQuery], Mapping[str, Hits]]


@dataclass(frozen=True, slots=True)
class CatalogueItem:
    """Fields of an item that an answer shows, and its terms."""

    own_id: OwnId
    title: str
    # by name: a list of values, a number, or None where the item has none
    attributes: Mapping[str, Any]
    terms: tuple[int, ...] = ()  # genre codes


class ElasticItems(HttpClient[ItemQuery, Mapping[str, Hits]]):
    """One search per channel with vectors, all of them in one round trip; by libcurl, as Elasticsearch's own client
    costs more time than the search.

    The answer has the `Hits` of each channel by its name, without those that have neither a vector nor genres.
    Scores of a search by vector alone are inner products, of others Elasticsearch's sums.
    """

    service: ClassVar[str] = "elasticsearch"
    gone = "has no items of this release"

    def __init__(self, settings: ElasticsearchSettings) -> None:
        super().__init__(settings, login=settings.login, ca_certs=settings.ca_certs)
        self._copies = settings.cluster
        # release -> searches further items, those that its index lacks
        self.more: Mapping[str, Search] = {}

    def _call(self, query: ItemQuery) -> Mapping[str, Hits]:
        allowed = unseen_filter(query.seen, query.only)
        searches = [
            (channel, search)
            for channel in query.recall.channels
            if isinstance(channel, VectorRecipe)
            and (search := channel_query(channel, query, allowed)) is not None
        ]
        if not searches:
            return {}
        how = {"size": query.recall.candidates, **KEYS_ONLY}
        bodies = [{"query": search, **how} for _, search in searches]
        answers = self._msearch(query.release, bodies)
        # A search by vector has several phases, and all of them call the copy of a shard that the first one called: a
        # node that ends in between leaves an answer without its shards, though other nodes have copies. So try again.
        if self._copies and any(
            answer.get("_shards", {}).get("failed")
            or answer["status"] >= HTTPStatus.INTERNAL_SERVER_ERROR
            for answer in answers
        ):
            answers = self._msearch(query.release, bodies)
        found = {
            channel.name: self._hits(answer, channel, query.recall, "knn" in search)
            for (channel, search), answer in zip(searches, answers, strict=True)
        }
        if (more := self.more.get(query.release)) is None:
            return found
        others = more(query)
        return {
            name: best_of(hits, others[name], query.recall.candidates)
            for name, hits in found.items()
        }

    def _msearch(
        self, release: str, bodies: Sequence[Mapping[str, Any]]
    ) -> list[dict[str, Any]]:
        """Send several searches in one round trip."""
        lines = (
            b"{}\n%b\n" % orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)
            for body in bodies
        )
        path = f"/{wire.item_index(release)}/_msearch?filter_path={_NEEDED}"
        return list(
            self._read(self.http.post(path, b"".join(lines), _LINES))["responses"]
        )

    def _hits(
        self,
        answer: dict[str, Any],
        channel: VectorRecipe,
        recall: RecallRecipe,
        by_vector_alone: bool,
    ) -> Hits:
        if "error" in answer:
            if answer["status"] == HTTPStatus.NOT_FOUND:
                raise GoneError(self.service, self.gone)
            raise ServiceError(
                self.service,
                f"refused the search of channel {channel.name} ({answer['error']['type']})",
            )
        self._require_whole(answer)
        # filter_path leaves empty lists out
        hits = answer.get("hits", {}).get("hits", [])
        # score and number of each
        keys = np.array([key for hit in hits for key in hit["sort"]], np.float64)
        numbers, scores = keys[1::2].astype(np.int64), keys[::2]
        if by_vector_alone:  # the inner products behind the scores
            scores = wire.product_of_score(scores / channel.vector_weight) / magnified(
                recall
            )
        return Hits(numbers, scores)

    def _require_whole(self, answer: Mapping[str, Any]) -> None:
        if answer.get("timed_out") or answer.get("_shards", {}).get("failed"):
            raise ServiceError(self.service, "answered from a part of its index only")

    def search(self, release: str, body: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Send one search; its hits. Limits are the caller's."""
        request = orjson.dumps(
            {"track_total_hits": False, **body}, option=orjson.OPT_SERIALIZE_NUMPY
        )
        path = f"/{wire.item_index(release)}/_search"
        page = self._read(self.http.post(path, request, _JSON))
        self._require_whole(page)
        return list(page["hits"]["hits"])

    def documents(
        self, release: str, fields: Sequence[str], **body: Any
    ) -> list[dict[str, Any]]:
        """Read fields of the items that one search finds, and under "sort" their sort keys. Raises ServiceError."""
        with self._limited("documents"):
            hits = self.search(release, {"_source": fields, **body})
            return [{**hit["_source"], "sort": hit.get("sort")} for hit in hits]

    def searches(self, release: str) -> int:
        """Count the searches of a release's items since Elasticsearch started. Raises ServiceError."""
        with self._limited("searches"):
            count = "_all.total.search.query_total"
            stats = self._read(
                self.http.get(
                    f"/{wire.item_index(release)}/_stats/search?filter_path={count}"
                )
            )
            return int(stats["_all"]["total"]["search"]["query_total"])

    def _ping(self) -> str:
        health = self._read(self.http.get("/_cluster/health?filter_path=status"))
        if health["status"] == "red":
            raise ServiceError(self.service, "is up, but its cluster is red")
        nodes = self._read(self.http.get("/_nodes/http?filter_path=nodes.*.version"))[
            "nodes"
        ]
        return ", ".join(sorted({node["version"] for node in nodes.values()}))
