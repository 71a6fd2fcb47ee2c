"""A release's index: inverted index of genre codes, and a vector index a recall channel.

An index carries the mark ``complete`` in its mapping once everything is in it. One without the mark is the leftover of
an interrupted load and is deleted; one with the mark may be live and is never emptied: its documents are written over
in place, under the same ids, and only when they are not what they should be. The mark ``checked`` follows once all of
it was compared with its source.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from elasticsearch import Elasticsearch
from elasticsearch.helpers import bulk, scan

from data_exchange_center import wire
from data_exchange_center.columns import vector_of
from data_exchange_center.progress import progress
from data_exchange_center.recipes import VectorIndex
from data_exchange_center.steps import CheckError
from offline_to_online.rows.item_rows import ItemRow
from offline_to_online.stores.index_checks import check_documents

log = logging.getLogger(__name__)

BULK: Final = 1_000  # documents a request
COPIES_WITHIN: Final = "25s"  # less than a step's client waits
COMPLETE: Final = "complete"
CHECKED: Final = "checked"
_SHOWN_ONLY: Final = {"index": False, "doc_values": False}
_OPTIONS: Final[Mapping[VectorIndex, Mapping[str, Any]]] = {
    "hnsw": {"type": "hnsw", "m": 16, "ef_construction": 100},
    "flat": {"type": "flat"},
}


class Shards(NamedTuple):
    """Into how many parts an index is cut, and how many more copies there are of each."""

    parts: int = 1
    replicas: int = 0


ONE: Final = Shards()


def index_body(dims: Mapping[str, int], kind: VectorIndex, shards: Shards = ONE) -> dict[str, Any]:
    """Settings and mapping. ``dims``: width of each channel's vectors; ``kind``: how they are searched."""
    vectors = {
        vector_of(channel): {
            "type": "dense_vector",
            "dims": width,
            "index": True,
            # the metric the vectors were trained with, on floats: the default would round them to bytes
            "similarity": "max_inner_product",
            "index_options": _OPTIONS[kind],
        }
        for channel, width in dims.items()
    }
    return {
        "settings": {
            "number_of_shards": shards.parts,
            "number_of_replicas": shards.replicas,
            "refresh_interval": "-1",
        },
        "mappings": {
            "dynamic": "strict",
            "properties": {
                wire.ITEM_ID: {"type": "integer"},
                wire.ITEM_OWN_ID: {"type": "keyword", **_SHOWN_ONLY},
                wire.ITEM_TITLE: {"type": "keyword", **_SHOWN_ONLY},
                wire.ITEM_GENRES: {"type": "keyword"},  # codes are looked up, never compared by size
                wire.ITEM_ATTRIBUTES: {"type": "object", "enabled": False},  # kept as it is, whatever its names are
                **vectors,
            },
        },
    }


def put_documents(client: Elasticsearch, release: str, rows: Sequence[ItemRow]) -> None:
    """Write the items over what there is of them."""
    bulk(client, _actions(wire.item_index(release), rows), chunk_size=BULK)


def write_items(
    client: Elasticsearch,
    release: str,
    rows: Sequence[ItemRow],
    dims: Mapping[str, int],
    kind: VectorIndex,
    shards: Shards = ONE,
    put: Callable[[Elasticsearch, str, Sequence[ItemRow]], None] = put_documents,
) -> None:
    """Load every item into the release's index, searchable on every copy when this returns, and mark it complete.

    ``put``: what writes the documents. Raises CheckError where not all copies come to be.
    """
    index = wire.item_index(release)
    if not marks_of(client, release).get(COMPLETE):
        delete_index(client, release)
        client.indices.create(index=index, **index_body(dims, kind, shards))
    put(client, release, rows)
    _delete_surplus(client, index, rows)
    client.indices.refresh(index=index)
    client.indices.forcemerge(index=index, max_num_segments=1)  # one graph a channel and shard: all are reached
    client.indices.put_settings(index=index, settings={"refresh_interval": "1s"})
    client.indices.refresh(index=index)
    _wait_for_copies(client, index)
    put_marks(client, release, {COMPLETE: True, "items": len(rows)})


def _wait_for_copies(client: Elasticsearch, index: str) -> None:
    health = client.options(ignore_status=408).cluster.health(
        index=index, wait_for_status="green", timeout=COPIES_WITHIN
    )
    if health["timed_out"]:
        raise CheckError(
            f"{health['unassigned_shards']} copies of shards of {index} have no node to lie on: "
            "start more nodes, or set RECSYS_ELASTICSEARCH__REPLICAS to fewer, delete the index and sync again"
        )


def delete_index(client: Elasticsearch, release: str) -> None:
    client.options(ignore_status=404).indices.delete(index=wire.item_index(release))


def holds(client: Elasticsearch, release: str, rows: Sequence[ItemRow]) -> bool:
    """Whether the release's index is complete and equal to its source, so that nothing need be written."""
    if not marks_of(client, release).get(COMPLETE):
        return False
    try:
        check_documents(client, release, rows)
    except CheckError as error:
        log.warning("%s: writing the release's items again", error)
        return False
    return True


def marks_of(client: Elasticsearch, release: str) -> dict[str, Any]:
    index = wire.item_index(release)
    if not client.indices.exists(index=index):
        return {}
    marks: dict[str, Any] = client.indices.get_mapping(index=index)[index]["mappings"].get("_meta", {})
    return marks


def put_marks(client: Elasticsearch, release: str, marks: Mapping[str, Any]) -> None:
    client.indices.put_mapping(index=wire.item_index(release), meta=marks)


def point_alias(client: Elasticsearch, release: str) -> None:
    """In one step, so that no search finds nothing."""
    actions: list[dict[str, Any]] = [
        {"remove": {"index": f"{wire.ITEM_ALIAS}-*", "alias": wire.ITEM_ALIAS, "must_exist": False}},
        {"add": {"index": wire.item_index(release), "alias": wire.ITEM_ALIAS}},
    ]
    client.indices.update_aliases(actions=actions)


def _actions(index: str, rows: Sequence[ItemRow]) -> Iterator[dict[str, Any]]:
    for row in progress(rows, desc="items to Elasticsearch", unit="item", leave=False):
        yield {"_index": index, "_id": str(row.itemid), "_source": row.document()}


def _delete_surplus(client: Elasticsearch, index: str, rows: Sequence[ItemRow]) -> None:
    """Delete documents that are not of this release: only a hand could have put them there."""
    client.indices.refresh(index=index)
    if client.count(index=index)["count"] == len(rows):
        return
    wanted = {str(row.itemid) for row in rows}
    surplus = [hit["_id"] for hit in scan(client, index=index, _source=False) if hit["_id"] not in wanted]
    bulk(client, ({"_op_type": "delete", "_index": index, "_id": key} for key in surplus))
