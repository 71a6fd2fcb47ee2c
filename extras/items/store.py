"""Store of new items, and the follower that keeps every worker up to date.

Redis holds one hash per data set: own id -> a new, changed or removed item; and a version that grows with every change.
A worker reads the version twice a second. When it has changed, the worker reads the hash and replaces its open releases
by extended ones. New items it searches itself, in addition to Elasticsearch.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, NamedTuple

from pydantic import BaseModel, ConfigDict
from werkzeug.exceptions import Conflict

from data_exchange_center.dataset import MAX_INTEGER, IdKind, OwnId, own_id
from extras.items.projection import Described, Extended, Spaces, base_of, extended, term_codes
from online.clients.base import StoredError
from online.clients.elastic import CatalogueItem
from online.clients.redis import RedisClient
from online.recommend.loaded_release import Release
from online.recommend.recommend import Recommender

log = logging.getLogger(__name__)

MAX_ITEMS: Final = 10_000  # that are kept of a data set: new, changed and removed
_VERSION: Final = ""  # field of the hash; no own id is empty


class Record(BaseModel):
    """An item as it is kept.

    Attributes:
        number: of an item that was new; if ids are strings, a release that has the item gives it another number.
        title: None: the item is removed.
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
    """Apply the ``version``-th change to a record, and number it; None deletes it. ``held``: how many there are.

    Raises Conflict where one more would be too many, and what ``change`` raises.
    """
    record = change(before)
    if record is None:
        return None
    if before is None and held >= MAX_ITEMS:
        raise Conflict(
            f"{MAX_ITEMS:,} items are new, changed or removed, and no more are kept: put them into the data set."
        )
    number = before.number if before else own if isinstance(own, int) else MAX_INTEGER - version
    return record.model_copy(update={"number": number})


class Query(NamedTuple):
    """Query for a data set's items, if they have changed since ``version``."""

    dataset: str
    kind: IdKind
    version: int


class Kept(NamedTuple):
    """Answer to a `Query`. ``records``: None if the version is the same."""

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
        """Change one record in a transaction; None deletes it. Raises as `after`, and ServiceError."""
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


class Follower:
    """Keep a process's open releases up to date with the records. Shared by threads."""

    def __init__(self, recommender: Recommender, store: ItemStore, ttl_s: float) -> None:
        """``ttl_s``: as of `ItemCache`."""
        self._releases, self._items, self._store, self._ttl_s = recommender.releases, recommender.items, store, ttl_s
        self._background = ThreadPoolExecutor(1, "new-items")
        self._lock = threading.RLock()
        self._kept: dict[tuple[str, IdKind], Kept] = {}

    def catch_up(self) -> bool:
        """Read changed records, and extend the open releases; for `Recommender.follow`. Raises ServiceError."""
        with self._lock:
            opened = self._releases.replace_each(self.view)  # `view` also notes their data sets
            for of in list(self._kept):
                found = self._store.call(Query(*of, self._kept[of].version))
                if found.records is not None:
                    self._kept[of] = found
                    opened = self._releases.replace_each(self.view)
            new = [each for each in opened if isinstance(each, Extended) and each.added]
            self._items.more = {each.release: each.alone for each in new}
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
