"""Items in Elasticsearch: one index a release, inverted index of genre codes and a vector index a recall channel.

An index carries the mark ``complete`` in its mapping once everything is in it. One without the mark is the rest of a
load that broke off and is thrown away; one with the mark may be live and is never emptied: its documents are written
over in place, under the same ids, and only when they are not what they should be. The mark ``checked`` follows once
all of it was compared with its source; without it the index does not go live.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from elasticsearch import Elasticsearch
from elasticsearch.helpers import bulk, scan
from numpy.typing import NDArray
from tqdm import tqdm

from data_exchange_center import artifacts, wire
from data_exchange_center.columns import Columns, vector_of
from data_exchange_center.recipes import VectorIndex
from offline_to_online.load.user_rows import vectors_by

BULK: Final = 1_000  # documents a request
_OPTIONS: Final[Mapping[VectorIndex, Mapping[str, Any]]] = {
    "hnsw": {"type": "hnsw", "m": 16, "ef_construction": 100},
    "flat": {"type": "flat"},
}
_COMPLETE: Final = "complete"
_CHECKED: Final = "checked"


@dataclass(frozen=True)
class ItemRow:
    """What recall needs of one item, and the title for the answer."""

    itemid: int
    title: str
    genres: tuple[int, ...]  # codes
    vectors: Mapping[str, NDArray[np.float32]]  # by `vector_of(channel)`; absent where it was never trained on

    def document(self) -> dict[str, Any]:
        return {
            wire.ITEM_ID: self.itemid,
            wire.ITEM_TITLE: self.title,
            wire.ITEM_GENRES: list(self.genres),
            **{field: vector.tolist() for field, vector in self.vectors.items()},
        }


def item_rows(exchange_dir: Path) -> list[ItemRow]:
    """Every item of the artifacts, by id. Raises ArtifactError when a file is missing."""
    titles = artifacts.ITEMS.read(exchange_dir).set_index(Columns.ITEM)[Columns.TITLE]
    genres = artifacts.ITEM_TERMS.read(exchange_dir).set_index(Columns.ITEM)[Columns.GENRES].to_dict()
    vectors = vectors_by(artifacts.ITEM_VECTORS.read(exchange_dir), Columns.ITEM)
    return [
        ItemRow(
            itemid=itemid,
            title=str(titles[itemid]),
            genres=tuple(int(code) for code in genres.get(itemid, ())),
            vectors=vectors.get(itemid, {}),
        )
        for itemid in sorted(titles.index.tolist())
    ]


def index_body(dims: Mapping[str, int], kind: VectorIndex) -> dict[str, Any]:
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
        "settings": {"number_of_shards": 1, "number_of_replicas": 0, "refresh_interval": "-1"},
        "mappings": {
            "dynamic": "strict",
            "properties": {
                wire.ITEM_ID: {"type": "integer"},
                wire.ITEM_TITLE: {"type": "keyword", "index": False, "doc_values": False},
                wire.ITEM_GENRES: {"type": "keyword"},  # codes are looked up, never compared by size
                **vectors,
            },
        },
    }


def is_complete(client: Elasticsearch, release: str) -> bool:
    """Whether the release's index exists and its load ran to the end."""
    return bool(_marks(client, release).get(_COMPLETE))


def is_checked(client: Elasticsearch, release: str) -> bool:
    """Whether the release's index is complete and passed every check when it was last loaded."""
    marks = _marks(client, release)
    return bool(marks.get(_COMPLETE) and marks.get(_CHECKED))


def mark_checked(client: Elasticsearch, release: str, checked: bool) -> None:
    """Set or take back the mark ``checked``; an index that is not there has none to take back."""
    marks = _marks(client, release)
    if checked or marks.get(_CHECKED):
        client.indices.put_mapping(index=wire.item_index(release), meta={**marks, _CHECKED: checked})


def _marks(client: Elasticsearch, release: str) -> dict[str, Any]:
    index = wire.item_index(release)
    if not client.indices.exists(index=index):
        return {}
    marks: dict[str, Any] = client.indices.get_mapping(index=index)[index]["mappings"].get("_meta", {})
    return marks


def write_items(
    client: Elasticsearch, release: str, rows: Sequence[ItemRow], dims: Mapping[str, int], kind: VectorIndex
) -> None:
    """Load every item into the release's index, searchable when this returns, and mark it complete."""
    index = wire.item_index(release)
    if not is_complete(client, release):
        client.options(ignore_status=404).indices.delete(index=index)
        client.indices.create(index=index, **index_body(dims, kind))
    bulk(client, _actions(index, rows), chunk_size=BULK)
    _delete_surplus(client, index, rows)
    client.indices.refresh(index=index)
    client.indices.forcemerge(index=index, max_num_segments=1)  # one graph a channel: a search reaches all vectors
    client.indices.put_settings(index=index, settings={"refresh_interval": "1s"})
    client.indices.refresh(index=index)
    client.indices.put_mapping(index=index, meta={_COMPLETE: True, "items": len(rows)})


def point_alias(client: Elasticsearch, release: str, *, only_if_absent: bool = False) -> None:
    """Move the alias that people search to the release's index, in one step."""
    if only_if_absent and client.indices.exists_alias(name=wire.ITEM_ALIAS):
        return
    actions: list[dict[str, Any]] = [
        {"remove": {"index": f"{wire.ITEM_ALIAS}-*", "alias": wire.ITEM_ALIAS, "must_exist": False}},
        {"add": {"index": wire.item_index(release), "alias": wire.ITEM_ALIAS}},
    ]
    client.indices.update_aliases(actions=actions)


def releases_in(client: Elasticsearch) -> set[str]:
    """Ids of the releases that have an index, whole or not."""
    indices = client.indices.get(index=f"{wire.ITEM_ALIAS}-*", features="settings")
    return {name.removeprefix(f"{wire.ITEM_ALIAS}-") for name in indices}


def delete_release(client: Elasticsearch, release: str) -> None:
    client.options(ignore_status=404).indices.delete(index=wire.item_index(release))


def _actions(index: str, rows: Sequence[ItemRow]) -> Iterator[dict[str, Any]]:
    for row in tqdm(rows, desc="items to Elasticsearch", unit="item", leave=False):
        yield {"_index": index, "_id": str(row.itemid), "_source": row.document()}


def _delete_surplus(client: Elasticsearch, index: str, rows: Sequence[ItemRow]) -> None:
    """Delete documents that are not of this release: only a hand could have put them there."""
    client.indices.refresh(index=index)
    if client.count(index=index)["count"] == len(rows):
        return
    wanted = {str(row.itemid) for row in rows}
    surplus = [hit["_id"] for hit in scan(client, index=index, _source=False) if hit["_id"] not in wanted]
    bulk(client, ({"_op_type": "delete", "_index": index, "_id": key} for key in surplus))
