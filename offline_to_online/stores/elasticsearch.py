"""The items' genres and vectors in Elasticsearch, checked by asking for them as the server does."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from data_exchange_center import wire
from data_exchange_center.release import Manifest
from offline_to_online.rows.item_rows import ItemRow
from offline_to_online.rows.sampling import Search
from offline_to_online.stores import index_engine
from offline_to_online.stores.base import ReleaseStore
from offline_to_online.stores.connections import elastic_client
from offline_to_online.stores.elasticsearch_index import (
    CHECKED,
    COMPLETE,
    Shards,
    delete_index,
    holds,
    marks_of,
    point_alias,
    put_marks,
    write_items,
)
from offline_to_online.stores.index_checks import check_documents, check_genres
from offline_to_online.stores.vector_checks import SelfCheck, VectorCheck, check_candidates, check_self_first


@dataclass(frozen=True)
class IndexContent:
    """What goes into a release's index, and what it must then find."""

    items: Sequence[ItemRow]
    searches: Mapping[str, Sequence[Search]]  # channel name -> searches of some users


@dataclass(frozen=True)
class IndexReport:
    """What the checks of an index have found."""

    genres: Mapping[int, int]  # genre code -> items
    channels: Mapping[str, tuple[SelfCheck, VectorCheck]]  # by channel name


class ElasticsearchStore(ReleaseStore[IndexContent, IndexReport]):
    """The items' genres and vectors."""

    title: ClassVar[str] = "Elasticsearch"
    step: ClassVar[str] = "offline_to_online/recall/s2_item_to_es.py"

    @property
    def _shards(self) -> Shards:
        return Shards(self.settings.elasticsearch.shards, self.settings.elasticsearch.replicas)

    @property
    def address(self) -> str:
        return ", ".join(self.settings.elasticsearch.urls)

    def _load(self, manifest: Manifest, content: IndexContent) -> None:
        with elastic_client(self.settings) as client:
            if not holds(client, manifest.release, content.items):
                kind, put = manifest.recipe.recall.index, index_engine.chosen(self.settings)
                write_items(client, manifest.release, content.items, manifest.vector_dims, kind, self._shards, put)

    def _check(self, manifest: Manifest, content: IndexContent) -> IndexReport:
        release, recall, items = manifest.release, manifest.recipe.recall, content.items
        with elastic_client(self.settings) as client:
            check_documents(client, release, items)
            return IndexReport(
                genres=check_genres(client, release, items),
                channels={
                    channel.name: (
                        check_self_first(client, release, items, recall, channel),
                        check_candidates(client, release, content.searches[channel.name], items, recall, channel),
                    )
                    for channel in recall.searched
                },
            )

    def _mark(self, release: str) -> None:
        with elastic_client(self.settings) as client:
            put_marks(client, release, {**marks_of(client, release), CHECKED: True})
            if not client.indices.exists_alias(name=wire.ITEM_ALIAS):  # before the first release goes live
                point_alias(client, release)

    def _unmark(self, release: str) -> None:
        with elastic_client(self.settings) as client:
            marks = marks_of(client, release)
            if marks.get(CHECKED):
                put_marks(client, release, {**marks, CHECKED: False})

    def _is_checked(self, release: str) -> bool:
        with elastic_client(self.settings) as client:
            marks = marks_of(client, release)
            return bool(marks.get(COMPLETE) and marks.get(CHECKED))

    def _releases(self) -> set[str]:
        with elastic_client(self.settings) as client:
            indices = client.indices.get(index=f"{wire.ITEM_ALIAS}-*", features="settings")
            return {name.removeprefix(f"{wire.ITEM_ALIAS}-") for name in indices}

    def activate(self, release: str) -> None:
        """Move the alias that people search."""
        with self.reaching(), elastic_client(self.settings) as client:
            point_alias(client, release)

    def delete(self, releases: Collection[str]) -> None:
        with self.reaching(), elastic_client(self.settings) as client:
            for release in releases:
                delete_index(client, release)
