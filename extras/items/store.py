"""Store of new items, and the thread by which every worker follows it.

Redis has one hash a data set: own id -> an item as it is now, new or changed, or that it is taken away; and a number
that grows with every change. A worker reads that number twice a second, and the hash when it is another one: then it
puts extended releases in the place of those that are open, and brings the release's second index, of the new items, up
to date in Elasticsearch. Workers write the same documents, so nobody need be the one that does.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Any, Final, NamedTuple
from weakref import WeakSet

import orjson
from pydantic import BaseModel, ConfigDict
from werkzeug.exceptions import Conflict

from data_exchange_center import wire
from data_exchange_center.dataset import MAX_INTEGER, IdKind, OwnId, own_id
from data_exchange_center.settings import ElasticsearchSettings, Settings
from data_exchange_center.wire import vector_of
from extras.items.projection import Described, Extended, Spaces, base_of, extended, term_codes
from online.clients.base import ServiceError, StoredError
from online.clients.elastic import CatalogueItem, ElasticItems, IndexedItem
from online.clients.redis import RedisClient
from online.recommend.recommend import Recommender
from online.recommend.release import Release

log = logging.getLogger(__name__)

MAX_ITEMS: Final = 10_000  # that are kept of a data set: new, changed and taken away
INDEX: Final = "ml_new_item"
_VERSION: Final = ""  # field of the hash; no own id is empty
_STAMP: Final = "stamp"  # field of a document: a hash of the others
_WRITING_S: Final = 5.0
_BULK: Final = 500  # documents a request
_JSON: Final = "Content-Type: application/json"
_LINES: Final = "Content-Type: application/x-ndjson"


class Record(BaseModel):
    """An item as it is kept.

    Attributes:
        number: of one that was new; the release's own, where it has the item, is another one with ids that are strings.
        title: None: the item is taken away.
        numbers: name -> value of the numeric attributes that were given.
        likes: of each of the first users who liked it, the newest items liked before, by their own ids.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int = 0
    title: str | None = None
    terms: dict[str, list[str]] = {}
    numbers: dict[str, float | None] = {}
    likes: tuple[tuple[OwnId, ...], ...] = ()


Change = Callable[[Record | None], Record | None]
Records = Mapping[OwnId, Record]


def after(change: Change, before: Record | None, own: OwnId, held: int, version: int) -> Record | None:
    """A record, numbered, after the ``version``-th change; None: it is taken away. ``held``: how many there are.

    Raises Conflict where one more would be too many, and what ``change`` raises.
    """
    record = change(before)
    if record is None:
        return None
    if before is None and held >= MAX_ITEMS:
        raise Conflict(
            f"{MAX_ITEMS:,} items are new, changed or taken away, and no more are kept: put them into the data set."
        )
    number = before.number if before else own if isinstance(own, int) else MAX_INTEGER - version
    return record.model_copy(update={"number": number})


class Query(NamedTuple):
    """A data set's items, if they are others than those of a version."""

    dataset: str
    kind: IdKind
    version: int


class Kept(NamedTuple):
    """``records``: None where the version is the one that was named."""

    version: int
    records: Records | None


class ItemStore(RedisClient[Query, Kept]):
    """Records in Redis."""

    def _call(self, query: Query) -> Kept:
        key = _key(query.dataset)
        version = int(self._redis.hget(key, _VERSION) or 0)  # type: ignore[arg-type]
        if version == query.version:
            return Kept(version, None)
        stored: Any = self._redis.hgetall(key)  # typed for the asynchronous client too
        try:
            records = {
                own_id(name.decode(), query.kind): Record.model_validate_json(raw)
                for name, raw in stored.items()
                if name != _VERSION.encode()
            }
        except ValueError as error:
            raise StoredError(self.service, "holds new items that cannot be read") from error
        return Kept(int(stored.get(_VERSION.encode(), 0)), records)

    def change(self, dataset: str, own: OwnId, change: Change) -> None:
        """Change one record in a transaction; None takes it away. Raises as `after`, and ServiceError."""
        key = _key(dataset)

        def changed(pipe: Any) -> None:
            raw, version, size = pipe.hget(key, f"{own}"), int(pipe.hget(key, _VERSION) or 0), pipe.hlen(key)
            record = after(change, Record.model_validate_json(raw) if raw else None, own, size - 1, version)
            pipe.multi()
            if record is None:
                pipe.hdel(key, f"{own}")
            else:
                pipe.hset(key, f"{own}", record.model_dump_json())
            pipe.hincrby(key, _VERSION, 1)

        with self._limited("change"):
            self._redis.transaction(changed, key)


def _key(dataset: str) -> str:
    """Hash: own id -> `Record`; and `_VERSION`, how often it was changed."""
    return f"ml:items:{dataset}"


class ItemIndex(ElasticItems):
    """The index of a release's new items, which requests search together with the release's own."""

    def __init__(self, settings: ElasticsearchSettings, searched: ElasticItems) -> None:
        """``searched``: the client of requests."""
        super().__init__(settings.model_copy(update={"timeout_s": _WRITING_S}))
        self._searched = searched

    def bring(self, opened: Extended) -> None:
        """Make the index hold the new items and nothing else, and have it searched. Raises ServiceError."""
        index = f"{INDEX}-{opened.release}"
        documents = dict(_document(item, opened.catalogue[item.itemid]) for item in opened.added)
        with self._limited("bring"):
            if documents and opened.release not in self._searched.more:
                mapping = wire.item_mapping(opened.manifest.vector_dims, {"type": "flat"})  # exactly: it is small
                mapping["properties"][_STAMP] = {"type": "keyword", "index": False}
                answer = self._http.put(f"/{index}", orjson.dumps({"mappings": mapping}), _JSON)
                if answer.status != HTTPStatus.BAD_REQUEST:  # it is there
                    self._read(answer)
                self._read(self._http.get(f"/_cluster/health/{index}?wait_for_status=yellow&timeout=5s"))
            found = self._http.post(f"/{index}/_search", orjson.dumps(_ALL), _JSON)
            if found.status == HTTPStatus.NOT_FOUND:  # to be made, or made again, the next time
                self._searched.more.pop(opened.release, None)
            stored = self._read(found)["hits"]["hits"] if documents or found.status != HTTPStatus.NOT_FOUND else ()
            held = {hit["_id"]: hit["fields"][_STAMP][0] for hit in stored}
            lines = [{"delete": {"_id": key}} for key in held if key not in documents]
            for key, document in documents.items():
                if held.get(key) != document[_STAMP]:
                    lines += [{"index": {"_id": key}}, document]
            for at in range(0, len(lines), 2 * _BULK):
                part = b"".join(orjson.dumps(line) + b"\n" for line in lines[at : at + 2 * _BULK])
                if self._read(self._http.post(f"/{index}/_bulk?refresh=true", part, _LINES))["errors"]:
                    raise self._wrong("did not take the new items")
        if documents:
            self._searched.more[opened.release] = index
        else:
            self._searched.more.pop(opened.release, None)


_ALL: Final = {"size": MAX_ITEMS, "_source": False, "docvalue_fields": [_STAMP]}


def _document(item: IndexedItem, shown: CatalogueItem) -> tuple[str, dict[str, Any]]:
    """Id and content."""
    document = {
        wire.ITEM_ID: item.itemid,
        wire.ITEM_OWN_ID: shown.own_id,
        wire.ITEM_TITLE: shown.title,
        wire.ITEM_GENRES: list(item.terms),
        wire.ITEM_ATTRIBUTES: dict(shown.attributes),
        **{vector_of(name): vector.tolist() for name, vector in item.vectors.items()},
    }
    stamp = hashlib.sha256(orjson.dumps(document)).hexdigest()[:16]
    return str(item.itemid), document | {_STAMP: stamp}


def delete_old(settings: Settings, deleted: Collection[str]) -> None:
    """Delete the indexes of new items of releases that are gone."""
    from offline_to_online.stores.base import elastic_client  # where a release goes live; not in the server's image

    with elastic_client(settings) as client:
        for release in deleted:
            client.options(ignore_status=404).indices.delete(index=f"{INDEX}-{release}")


class Follower:
    """Keeps a process's releases as the records are. Shared by threads; a recommender's follows it."""

    def __init__(self, recommender: Recommender, store: ItemStore, index: ItemIndex, ttl_s: float) -> None:
        """``ttl_s``: as of `ItemCache`."""
        self._releases, self._store, self._index, self._ttl_s = recommender.releases, store, index, ttl_s
        self._background = ThreadPoolExecutor(1, "new-items")
        self._lock = threading.RLock()
        self._kept: dict[tuple[str, IdKind], Kept] = {}
        self._indexed: WeakSet[Release] = WeakSet()

    def catch_up(self) -> bool:
        """Show the items as they are now. Returns whether Elasticsearch has them, too. Raises ServiceError of Redis."""
        with self._lock:
            opened = self._releases.replace_each(self.view)  # which also says of which data sets they are
            for of in list(self._kept):
                found = self._store.call(Query(*of, self._kept[of].version))
                if found.records is not None:
                    self._kept[of] = found
                    opened = self._releases.replace_each(self.view)
            behind = [each for each in opened if isinstance(each, Extended) and each not in self._indexed]
        for each in behind:
            try:
                self._index.bring(each)
            except ServiceError:  # it is logged, and tried again
                return False
            self._indexed.add(each)
        return True

    def record(self, base: Release, own: OwnId) -> Record | None:
        """A new item, as this process knows it; None for one that the release has of its own."""
        dataset = base.manifest.dataset
        kept = self._kept.get((dataset.base_name, dataset.item_ids))
        return None if own in base.numbers or not kept or not kept.records else kept.records.get(own)

    def view(self, opened: Release) -> Release:
        """A release with the items as this process knows them."""
        base = base_of(opened)
        dataset = base.manifest.dataset
        with self._lock:
            kept = self._kept.setdefault((dataset.base_name, dataset.item_ids), Kept(-1, {}))  # read in a moment
            if isinstance(opened, Extended) and opened.version == kept.version:
                return opened
            items, hidden = [], []
            for own, record in (kept.records or {}).items():
                number = base.numbers.get(own)
                if record.title is None:
                    hidden += [] if number is None else [number]
                else:
                    items.append(_described(base, number, own, record.title, record))
            if not items and not hidden and opened is base:
                return base
            spaces = opened.spaces if isinstance(opened, Extended) else Spaces(base)
            return extended(spaces, items, hidden, kept.version, self._ttl_s, self._background)


def _described(base: Release, number: int | None, own: OwnId, title: str, record: Record) -> Described:
    """An item by its attributes. ``number``: of one that the release has."""
    dataset = base.manifest.dataset
    declared: dict[str, Any] = {name: [] for name in dataset.terms} | {
        each.name: None for each in dataset.numbers if each.shown
    }
    given = record.terms | {
        name: int(value) if value is not None and value.is_integer() else value
        for name, value in record.numbers.items()
    }
    before = declared if number is None else base.catalogue[number].attributes
    shown = dict(before) | {name: given[name] for name in declared if name in given}
    likes = tuple(tuple(base.numbers[each] for each in of if each in base.numbers) for of in record.likes)
    terms = term_codes(dataset, base.spec, shown)
    return Described(number or record.number, CatalogueItem(own, title, shown), terms, record.numbers, likes)
