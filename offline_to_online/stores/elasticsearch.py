"""Items' genres and vectors in Elasticsearch: one index per release, checked by searching it as the server does.

An index holds an inverted index of genre codes, and one vector index per recall channel. Once all documents are in it,
its mapping has the mark ``checked``: false until they have been compared with their source, then true. An index without
the mark is left over from an interrupted first load and is deleted. One with the mark may be live and is never emptied:
its documents are overwritten in place, under the same ids, and only when they differ from their source.
"""

import logging
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import Any, ClassVar, Final

import numpy as np
from elasticsearch import ApiError, Elasticsearch, TransportError
from elasticsearch.helpers import BulkIndexError, bulk, scan

from data_exchange_center import recipes, wire
from data_exchange_center.candidates import ItemQuery
from data_exchange_center.dataset import OwnId
from data_exchange_center.fusion import Hits
from data_exchange_center.manifest import Manifest
from data_exchange_center.settings import Settings
from data_exchange_center.steps import CheckError, progress
from data_exchange_center.wire import vector_of
from offline_to_online.rows import ItemRow
from offline_to_online.stores.base import ReleaseStore, elastic_client, patient
from online.clients.elastic import ElasticItems

log = logging.getLogger(__name__)
CHUNK: Final = 250  # documents per request
AT_ONCE: Final = 8  # concurrent searches
COPIES_WITHIN: Final = "25s"  # shorter than the client's timeout
CHECKED: Final = "checked"
SELF_CANDIDATES: Final = 100  # breadth of the search in which an item must find itself: far less than users get
SAME_SCORE: Final = 1e-6  # relative, a few steps of float32; two products this close to each other are a tie
_GRAPH: Final = {"m": 16, "ef_construction": 100}
# three times as many candidates are rescored by floats
_RESCORED: Final = {"rescore_vector": {"oversample": 3.0}}
INDEX_OPTIONS: Final[Mapping[recipes.VectorIndex, Mapping[str, Any]]] = {
    "flat": {"type": "flat"},
    "hnsw": {"type": "hnsw", **_GRAPH},
    "int8_flat": {"type": "int8_flat", **_RESCORED},
    "int8_hnsw": {"type": "int8_hnsw", **_GRAPH, **_RESCORED},
    "bbq_flat": {"type": "bbq_flat", **_RESCORED},
    "bbq_hnsw": {"type": "bbq_hnsw", **_GRAPH, **_RESCORED},
}


class ElasticsearchStore(ReleaseStore):
    """The items' genres and vectors."""

    title: ClassVar[str] = "Elasticsearch"
    step: ClassVar[str] = "offline_to_online/recall/s2_item_to_es.py"
    errors = ApiError, TransportError, BulkIndexError

    @property
    def address(self) -> str:
        return ", ".join(self.settings.elasticsearch.urls)

    @contextmanager
    def client(self) -> Iterator[Elasticsearch]:
        with self.translate_errors(), elastic_client(self.settings) as client:
            yield client

    def load(
        self,
        release: str,
        items: Sequence[ItemRow],
        dims: Mapping[str, int],
        kind: recipes.VectorIndex,
    ) -> None:
        """Write the items into the release's index, unless it holds them, and mark the release as unchecked.

        Raises CheckError if not all copies (replicas) can be allocated.

        Args:
            dims: width of each channel's vectors.
            kind: how vectors are searched, a key of `INDEX_OPTIONS`.
        """
        index = wire.item_index(release)
        place = self.settings.elasticsearch
        with self.client() as client:
            mark = mark_of(client, index)
            if mark is None:
                client.options(ignore_status=404).indices.delete(index=index)
                mapping = item_mapping(dims, INDEX_OPTIONS[kind])
                create_index(client, index, mapping, place.shards, place.replicas)
            else:
                set_mark(client, index, checked=False)
                try:
                    check_documents(client, index, items)
                except CheckError as error:
                    log.warning("%s: writing the release's items again", error)
                else:
                    return
            put_documents(client, index, items)
            open_for_search(client, index, place.replicas)
            set_mark(client, index, checked=False)

    def check(
        self, manifest: Manifest, items: Sequence[ItemRow]
    ) -> tuple[dict[int, int], dict[str, int]]:
        """Check every document, every genre and each item's own vectors, and mark the release as checked.

        Returns genre code -> number of items; channel name -> number of items whose own vector finds an equal first.
        Raises CheckError naming the row.
        """
        release = manifest.release
        index = wire.item_index(release)
        with self.client() as client:
            check_documents(client, index, items)
            genres = Counter(code for item in items for code in item.terms)
            for code, wanted in genres.items():
                query = {"term": {wire.ITEM_GENRES: code}}
                got = client.count(index=index, query=query)["count"]
                if got != wanted:
                    raise CheckError(
                        f"genre {code}: the index finds {got} items, the source has {wanted} of {len(items)}"
                    )
            ties = check_self_first(self.settings, manifest, items)
            set_mark(client, index, checked=True)
            if not client.indices.exists_alias(
                name=wire.ITEM_ALIAS
            ):  # before the first release goes live
                self.activate(release)
        return dict(genres), ties

    def is_checked(self, release: str) -> bool:
        with self.client() as client:
            return bool(mark_of(client, wire.item_index(release)))

    def releases(self) -> set[str]:
        with self.client() as client:
            indices = client.indices.get(
                index=f"{wire.ITEM_ALIAS}-*", features="settings"
            )
            return {name.removeprefix(f"{wire.ITEM_ALIAS}-") for name in indices}

    def activate(self, release: str) -> None:
        """Move the alias that people search, atomically: there is no moment without one."""
        others = {
            "index": f"{wire.ITEM_ALIAS}-*",
            "alias": wire.ITEM_ALIAS,
            "must_exist": False,
        }
        this_one = {"index": wire.item_index(release), "alias": wire.ITEM_ALIAS}
        with self.client() as client:
            client.indices.update_aliases(
                actions=[{"remove": others}, {"add": this_one}]
            )

    def delete(self, releases: Collection[str]) -> None:
        with self.client() as client:
            for release in releases:
                index = wire.item_index(release)
                client.options(ignore_status=404).indices.delete(index=index)


# The mark, which also tells an index that was filled once from the rest of an interrupted load.


def mark_of(client: Elasticsearch, index: str) -> bool | None:
    """Whether an index was checked; None: there is no index, or its first load was interrupted."""
    found = client.options(ignore_status=404).indices.get_mapping(index=index)
    if index not in found:
        return None
    meta: dict[str, bool] = found[index]["mappings"].get("_meta", {})
    return meta.get(CHECKED)


def set_mark(client: Elasticsearch, index: str, *, checked: bool) -> None:
    client.indices.put_mapping(index=index, meta={CHECKED: checked})


# Writing.


def create_index(
    client: Elasticsearch,
    index: str,
    mapping: Mapping[str, Any],
    shards: int,
    replicas: int,
) -> None:
    """Make an index that is filled before it is searched: `open_for_search`."""
    client.indices.create(
        index=index,
        settings={
            "number_of_shards": shards,
            "number_of_replicas": replicas,
            "refresh_interval": "-1",
        },
        mappings=mapping,
    )


def open_for_search(client: Elasticsearch, index: str, replicas: int) -> None:
    """Make all documents of an index searchable on every copy. Raises CheckError where a copy has no node."""
    # one graph per channel and shard: all are reached
    client.indices.forcemerge(index=index, max_num_segments=1)
    client.indices.put_settings(
        index=index, settings={"refresh_interval": "1s", "number_of_replicas": replicas}
    )
    client.indices.refresh(index=index)
    health = client.options(ignore_status=408).cluster.health(
        index=index, wait_for_status="green", timeout=COPIES_WITHIN
    )
    if health["timed_out"]:
        raise CheckError(
            f"{health['unassigned_shards']} copies of shards of {index} have no node to lie on: "
            "start more nodes, or set RECSYS_ELASTICSEARCH__REPLICAS to fewer, and sync again"
        )


def item_mapping(dims: Mapping[str, int], options: Mapping[str, Any]) -> dict[str, Any]:
    """Mapping of an index of items. ``dims``: width of each channel's vectors; ``options``: how they are searched."""
    shown_only = {"type": "keyword", "index": False, "doc_values": False}
    words = {"type": "text", "analyzer": "whitespace"}
    # the metric the vectors were trained with, on floats: the default would round them to bytes
    vector = {
        "type": "dense_vector",
        "index": True,
        "similarity": "max_inner_product",
        "index_options": options,
    }
    return {
        "dynamic": "strict",
        "properties": {
            wire.ITEM_NUMBER: {"type": "integer"},
            wire.ITEM_OWN_ID: shown_only,
            wire.ITEM_TITLE: shown_only,
            wire.ITEM_GENRES: {
                "type": "keyword"
            },  # codes are looked up, never compared by size
            wire.ITEM_ATTRIBUTES: {
                "type": "object",
                "enabled": False,
            },  # kept as it is, whatever its names are
            wire.ITEM_WORDS: {"properties": {"title": words, "attributes": words}},
            **{
                vector_of(channel): {**vector, "dims": width}
                for channel, width in dims.items()
            },
        },
    }


def put_documents(client: Elasticsearch, index: str, rows: Sequence[ItemRow]) -> None:
    """Index the items, overwriting documents with the same ids, and delete all others."""
    documents = (
        {"_index": index, "_id": str(row.number), "_source": row.document()}
        for row in progress(
            rows, desc="items to Elasticsearch", unit="item", leave=False
        )
    )
    bulk(client, documents)
    client.indices.refresh(index=index)
    # documents that somebody added by hand
    if client.count(index=index)["count"] != len(rows):
        ours = {str(row.number) for row in rows}
        found = scan(client, index=index, _source=False)
        others = [hit["_id"] for hit in found if hit["_id"] not in ours]
        deletions = (
            {"_op_type": "delete", "_index": index, "_id": key} for key in others
        )
        bulk(client, deletions)
        client.indices.refresh(index=index)


# Checks.


def check_documents(client: Elasticsearch, index: str, rows: Sequence[ItemRow]) -> None:
    """Compare every document with its source, field by field. Raises CheckError naming item, field and values."""
    count = client.count(index=index)["count"]
    if count != len(rows):
        raise CheckError(
            f"index {index} holds {count} documents, the source {len(rows)} items"
        )
    for start in range(0, len(rows), CHUNK):
        chunk = rows[start : start + CHUNK]
        answer = client.mget(index=index, ids=[str(row.number) for row in chunk])
        for row, document in zip(chunk, answer["docs"], strict=True):
            check_document(row, document.get("_source"))


def check_document(row: ItemRow, stored: Mapping[str, Any] | None) -> None:
    if stored is None:
        raise CheckError(f"item {row.own_id!r}: no document in Elasticsearch")
    wanted = row.document()
    vectors = {vector_of(channel) for channel in row.vectors}
    for field in sorted({*wanted, *stored}):
        got = stored.get(field)
        source = wanted.get(field)
        if field in vectors and got is not None:
            got = np.asarray(got, np.float32).tolist()
        if got != source:
            raise CheckError(
                f"item {row.own_id!r}, field {field!r}: Elasticsearch gave {got}, the source says {source}"
            )


def check_self_first(
    settings: Settings, manifest: Manifest, rows: Sequence[ItemRow]
) -> dict[str, int]:
    """Search with each item's own vectors: every channel has to find that item first, or one with an equal score.

    Returns channel name -> number of ties.
    """
    recall = manifest.recipe.recall.model_copy(
        update={"num_candidates": SELF_CANDIDATES, "candidates": 1}
    )
    ties = {channel.name: 0 for channel in recall.vector_channels}
    own_ids = {row.number: row.own_id for row in rows}
    queries = [ItemQuery(manifest.release, recall, row.vectors) for row in rows]
    with closing(ElasticItems(patient(settings).elasticsearch)) as client:
        pool = ThreadPoolExecutor(AT_ONCE)
        try:
            answers = pool.map(client.call, queries)
            shown = progress(
                answers, desc="searches", unit="item", total=len(rows), leave=False
            )
            for row, found in zip(rows, shown, strict=True):
                for channel in row.vectors:
                    ties[channel] += is_tie(row, channel, found[channel], own_ids)
        finally:
            # after a failure no more searches are sent
            pool.shutdown(cancel_futures=True)
    return ties


def is_tie(
    row: ItemRow, channel: str, hits: Hits, own_ids: Mapping[int, OwnId]
) -> bool:
    """Whether an item's own vector finds, before the item, another one with an equal score.

    All item vectors of a channel have the same norm, so none has a larger inner product with an item than the item
    itself. Raises CheckError where one has, or nothing is found.
    """
    vector = row.vectors[channel].astype(np.float64)
    itself = vector @ vector
    if len(hits.ids) == 0:
        what = "nothing"
    elif hits.ids[0] == row.number:
        return False
    elif np.isclose(itself, hits.scores[0], rtol=SAME_SCORE):
        return True
    else:
        what = f"item {own_ids[int(hits.ids[0])]!r} first, by {hits.scores[0]:.6f}"
    raise CheckError(
        f"item {row.own_id!r}: its own vector of channel {channel} finds {what}; its inner product with itself is "
        f"{itself:.6f}"
    )
