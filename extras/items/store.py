"""Store of new items, and the follower that keeps every worker up to date.

Redis holds one hash per data set: own id -> a new, changed or removed item; and a version that grows with every change.
A worker reads the version twice a second. When it has changed, the worker reads the items, and replaces its open
releases by extended ones. New items it searches itself, in addition to Elasticsearch.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from pydantic import BaseModel, ConfigDict
from werkzeug.exceptions import Conflict

from data_exchange_center.dataset import MAX_INTEGER, IdKind, OwnId, own_id
from extras.items.projection import (
    AT_ONCE,
    Described,
    Extended,
    Spaces,
    base_of,
    extended,
)
from online.clients.base import StoredError
from online.clients.elastic import CatalogueItem
from online.clients.redis import RedisClient
from online.recommend.loaded_release import Release
from online.recommend.phases import Hook
from online.recommend.recommend import Recommender

MAX_ITEMS: Final = 10_000  # that are kept of a data set: new, changed and removed
LIKES: Final = 30  # of an item that are kept: the newest, one a user
_PAUSE: Final = 5  # between two updates of a process, in durations of the last one: requests come first
_MAX_PAUSE_S: Final = 1.0
_VERSION: Final = ""  # field of the hash; no own id is empty


class Like(NamedTuple):
    """A user's like of an item, the newest items that the user had liked before, by their own ids, and its second."""

    user: OwnId
    before: tuple[OwnId, ...]
    at: int = 0


class Record(BaseModel):
    """An item as it is kept.

    Attributes:
        number: of an item that was new; if ids are strings, a release that has the item gives it another number.
        title: None: the item is removed.
        numbers: name -> value of the numeric attributes that were given.
        likes: the newest ones, at most one a user, the newest last, by the time of the event.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int = 0
    title: str | None = None
    terms: dict[str, list[str]] = {}
    numbers: dict[str, float | None] = {}
    likes: tuple[Like, ...] = ()

    def with_like(self, user: OwnId, before: tuple[OwnId, ...], at: int = 0) -> Record:
        """Let a user's like count, instead of an earlier one; ``before``: empty takes it back."""
        likes = [like for like in self.likes if like.user != user]
        if before:
            likes.append(Like(user, before, at))
            likes.sort(key=lambda like: like.at)
        newest = tuple(likes[-LIKES:])
        return self.model_copy(update={"likes": newest})


Change = Callable[[Record | None], Record | None]
Records = Mapping[OwnId, Record]


def after(
    changes: Mapping[OwnId, Change], before: Records, held: int, version: int
) -> dict[OwnId, Record | None]:
    """Apply changes to records, and number new ones. Returns those that differ; None: deleted.

    Args:
        before: of the changed items, those that are kept.
        held: how many are kept.
        version: how many changes there were so far.

    Raises Conflict where there would be too many, and what a change raises.
    """
    found: dict[OwnId, Record | None] = {}
    for own, change in changes.items():
        was = before.get(own)
        record = change(was)
        if record is None:
            held -= was is not None
        else:
            held += was is None
            number = own if isinstance(own, int) else MAX_INTEGER - version - len(found)
            record = record.model_copy(update={"number": was.number if was else number})
        if record != was:
            found[own] = record
    if held > MAX_ITEMS and any(
        record is not None and own not in before for own, record in found.items()
    ):
        raise Conflict(
            f"{MAX_ITEMS:,} items are new, changed or removed at most, and no more are kept: "
            "put them into the data set."
        )
    return found


class Kept(NamedTuple):
    """A data set's records, as a process knows them.

    Attributes:
        stored: what they were read from: a record that has not changed stays the same object.
    """

    version: int
    records: Records
    stored: Mapping[OwnId, bytes]


NOTHING: Final = Kept(-1, {}, {})


class Query(NamedTuple):
    """Query for a data set's items. ``known``: what the process knows of them."""

    dataset: str
    kind: IdKind
    known: Kept = NOTHING


class ItemStore(RedisClient[Query, Kept]):
    """Records in Redis."""

    def _call(self, query: Query) -> Kept:
        key, known = _key(query.dataset), query.known
        version = int(self._redis.hget(key, _VERSION) or 0)  # type: ignore[arg-type]
        if version == known.version:
            return known
        stored: Any = self._redis.hgetall(key)  # typed for the asynchronous client too
        version = int(stored.pop(_VERSION.encode(), 0))
        by_id = {own_id(name.decode(), query.kind): raw for name, raw in stored.items()}
        records = {}
        try:
            for own, raw in by_id.items():
                is_known = known.stored.get(own) == raw
                records[own] = (
                    known.records[own] if is_known else Record.model_validate_json(raw)
                )
        except ValueError as error:
            raise StoredError(
                self.service, "holds new items that cannot be read"
            ) from error
        return Kept(version, records, by_id)

    def change(self, dataset: str, changes: Mapping[OwnId, Change]) -> int:
        """Change records in one transaction: all of them or none. Returns the version.

        Raises as `after`, and ServiceError.
        """
        key = _key(dataset)

        def changed(pipe: Any) -> Any:  # typed to return nothing
            version, *found = pipe.hmget(key, [_VERSION, *map(str, changes)])
            version, size = int(version or 0), pipe.hlen(key)
            before = {
                own: Record.model_validate_json(raw)
                for own, raw in zip(changes, found, strict=True)
                if raw
            }
            records = after(changes, before, max(size - 1, 0), version)
            pipe.multi()
            for own, record in records.items():
                version += 1
                if record is None:
                    pipe.hdel(key, str(own))
                else:
                    pipe.hset(key, str(own), record.model_dump_json())
            if records:
                pipe.hset(key, _VERSION, version)
            return version

        with self._limited("change"):
            version: Any = self._redis.transaction(
                changed, key, value_from_callable=True
            )
        return int(version)

    def forget(self, dataset: str, user: OwnId) -> int:
        """Delete a user's likes of items. Returns the version. Raises ServiceError."""
        records = self.call(Query(dataset, "string")).records
        changes: dict[OwnId, Change] = {}
        for own, record in records.items():
            if any(like.user == user for like in record.likes):
                changes[own] = lambda was: was and was.with_like(user, ())
        return self.change(dataset, changes)


def _key(dataset: str) -> str:
    """Hash: own id -> `Record`; and `_VERSION`, how often it was changed."""
    return f"ml:items:{dataset}"


class Follower:
    """Keep a process's open releases up to date with the records. Shared by threads."""

    def __init__(
        self, recommender: Recommender, store: ItemStore, ttl_s: float
    ) -> None:
        """``ttl_s``: as of `ItemCache`."""
        self._releases = recommender.releases
        self._items = recommender.items
        self._store = store
        self._ttl_s = ttl_s
        self._lock = threading.RLock()
        self._kept: dict[tuple[str, IdKind], Kept] = {}
        self._free_at = 0.0  # monotonic seconds: when the next update may begin
        # of requests, which has nothing to do until an item is removed
        self.hides: Hook[Any] | None = None

    def catch_up(self) -> bool:
        """Read changed records, and extend the open releases; for `Recommender.follow`. Raises ServiceError."""
        with self._lock:
            if time.monotonic() >= self._free_at:
                self._update()
        return True

    def include(self, base: Release, version: int) -> None:
        """Catch up with at least this version of the records. Threads that wait for each other's share one update."""
        with self._lock:
            kept = self._kept.get(_data_of(base))
            if kept is None or kept.version < version:
                time.sleep(max(0.0, self._free_at - time.monotonic()))
                self._update()

    def _update(self) -> None:
        # `view` also notes their data sets
        opened = self._releases.replace_each(self.view)
        for of, kept in list(self._kept.items()):
            found = self._store.call(Query(*of, kept))
            if found.version != kept.version:
                started = time.monotonic()
                self._kept[of] = found
                opened = self._releases.replace_each(self.view)
                ended = time.monotonic()
                self._free_at = ended + min(_PAUSE * (ended - started), _MAX_PAUSE_S)
        new = [
            each
            for each in opened
            if isinstance(each, Extended) and len(each.alone.item_numbers)
        ]
        self._items.more = {each.release: each.alone.call for each in new}

    def record(self, base: Release, own: OwnId) -> Record | None:
        """A new item, as this process knows it; None for one that the release has of its own."""
        kept = self._kept.get(_data_of(base))
        return None if own in base.numbers or not kept else kept.records.get(own)

    def view(self, opened: Release) -> Release:
        """A release with the items as this process knows them. Items that have not changed are not placed again."""
        base = base_of(opened)
        with self._lock:
            # read in a moment
            kept = self._kept.setdefault(_data_of(base), NOTHING)
            if not kept.records:
                return base
            if isinstance(opened, Extended):
                if opened.records is kept.records:
                    return opened
                spaces, placed, before = opened.spaces, opened.placed, opened.records
            else:
                spaces, before = Spaces(base), {}
                placed = spaces.place([])
            hidden = set()
            left = []
            changed = []
            for own, record in kept.records.items():
                number = base.numbers.get(own, record.number)
                if record.title is None:
                    hidden.add(number)
                    continue
                left.append(number)
                if before.get(own) is not record:
                    changed.append(_described(spaces, number, own, record))
            for start in range(0, max(len(changed), 1), AT_ONCE):
                some = changed[start : start + AT_ONCE]
                placed = placed.updated(spaces.place(some), left)
            if self.hides is not None and hidden:
                self.hides.needed = True
            return extended(spaces, placed, hidden, kept.records, self._ttl_s)


def _data_of(base: Release) -> tuple[str, IdKind]:
    return base.dataset, base.manifest.dataset.item_ids


def _described(spaces: Spaces, number: int, own: OwnId, record: Record) -> Described:
    """An item by its attributes, those of the release's own item where the record has none."""
    base, dataset = spaces.base, spaces.dataset
    if number in base.catalogue:
        shown = dict(base.catalogue[number].attributes)
    else:
        shown = {name: [] for name in dataset.terms} | {
            each.name: None for each in dataset.numbers
        }
    for name, value in (record.terms | record.numbers).items():
        if name in shown:
            shown[name] = (
                int(value) if isinstance(value, float) and value.is_integer() else value
            )
    likes = []
    for like in record.likes:
        likes.append(
            tuple(base.numbers[each] for each in like.before if each in base.numbers)
        )
    item = CatalogueItem(own, record.title or "", shown, spaces.term_codes(shown))
    return Described(number, item, record.numbers, tuple(likes))
