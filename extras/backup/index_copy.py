"""Copy the releases' indices of Elasticsearch, which never change, document by document."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson
from elasticsearch.helpers import bulk, scan

from data_exchange_center import wire
from data_exchange_center.settings import Settings
from data_exchange_center.steps import progress
from offline_to_online.stores.elasticsearch import (
    ElasticsearchStore,
    create_index,
    open_for_search,
    set_mark,
)


def save(settings: Settings, releases: Iterable[str], folder: Path) -> None:
    """Write each release's index into a file: a line with its mapping, and a line for each document."""
    folder.mkdir()
    with ElasticsearchStore(settings).client() as client:
        for release in releases:
            index = wire.item_index(release)
            described = client.indices.get(index=index)[index]
            with (folder / release).open("wb") as file:
                file.write(orjson.dumps(described["mappings"]) + b"\n")
                documents = progress(scan(client, index=index), desc="Elasticsearch")
                for hit in documents:
                    kept = {"_id": hit["_id"], "_source": hit["_source"]}
                    file.write(orjson.dumps(kept) + b"\n")


def load(settings: Settings, file: Path) -> None:
    """Make a release's index from its file, searchable when this returns, and mark it as checked."""
    release = file.name
    index = wire.item_index(release)
    place = settings.elasticsearch
    with ElasticsearchStore(settings).client() as client, file.open("rb") as lines:
        mapping: dict[str, Any] = orjson.loads(next(lines))
        mapping.pop("_meta", None)  # the mark
        create_index(client, index, mapping, place.shards, place.replicas)
        documents = ({"_index": index, **orjson.loads(line)} for line in lines)
        bulk(client, progress(documents, desc="Elasticsearch"))
        open_for_search(client, index, place.replicas)
        set_mark(client, index, checked=True)
