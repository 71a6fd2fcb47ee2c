"""Feast's feature server: raw feature values of users and items, and the batches of users.

A user's features are fetched while Elasticsearch searches: Feast needs 4.7 ms for one user and 7.2 ms for eight, and
its server works on one call at a time. So while a call is in flight, further users are collected for the next one.
Strict requests, which may wait longer, have calls of their own.
"""

import importlib.metadata
import logging
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent import futures
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, ClassVar

import numpy as np
import orjson
from numpy.typing import NDArray

from data_exchange_center import wire
from data_exchange_center.columns import Entity
from data_exchange_center.features import Encoded, FeatureSpec
from data_exchange_center.fusion import Vocabulary
from online.clients import base, http

log = logging.getLogger(__name__)

MAX_USERS = 32  # per call
_JSON = "Content-Type: application/json"


@dataclass(frozen=True, slots=True)
class FeatureQuery:
    """Features of some users or items as a release stored them; ``release=None``: of the live release."""

    entity: Entity
    release: str | None
    ids: Sequence[int]  # numbers of users or items


@dataclass(frozen=True, slots=True)
class FeatureRows:
    """Raw values, the entity's own id among the columns, of the ids that have every feature."""

    ids: tuple[int, ...]  # complete rows, in the order of the query
    columns: Mapping[str, list[Any]]  # feature name -> one value for each of `ids`
    # id -> features without a value; such an id is not in `ids`
    missing: Mapping[int, tuple[str, ...]]


class FeastFeatures(http.HttpClient[FeatureQuery, FeatureRows]):
    """`POST /get-online-features` by feature service."""

    service: ClassVar[str] = "feast"
    gone = "has no features of this release"

    def _call(self, query: FeatureQuery) -> FeatureRows:
        key, name = wire.FEAST_KEY[query.entity], wire.FEAST_SERVICE[query.entity]
        service = wire.feast_name(name, query.release) if query.release else name
        body = orjson.dumps(
            {"feature_service": service, "entities": {key: list(query.ids)}}
        )
        return feature_rows(
            key,
            query.ids,
            self._read(self.http.post("/get-online-features", body, _JSON)),
        )

    def _ping(self) -> str:
        """Version of the package installed here, if any: the server does not report its own, and both are pinned."""
        if (status := self.http.get("/health").status) != HTTPStatus.OK:
            raise base.ServiceError(
                self.service, f"answered its health check with status {status}"
            )
        try:
            return importlib.metadata.version("feast")
        except importlib.metadata.PackageNotFoundError:  # the server's own image
            return "unknown"


FeatureStore = base.Client[FeatureQuery, FeatureRows]


def feature_rows(
    key: str, ids: Sequence[int], answer: Mapping[str, Any]
) -> FeatureRows:
    """Parse Feast's column-wise answer (one value per id) into complete rows and missing features.

    Raises ValueError when its rows are not those of ``ids``.
    """
    names = answer["metadata"]["feature_names"]
    columns: dict[str, list[Any]] = {
        name: result["values"]
        for name, result in zip(names, answer["results"], strict=True)
    }
    whole = all(len(values) == len(ids) for values in columns.values())
    if not whole or columns.get(key) != list(ids):
        raise ValueError(f"rows of {key} are not the requested ones")
    missing = {}
    complete = []
    for row, entity in enumerate(ids):
        absent = [name for name, values in columns.items() if values[row] is None]
        if absent:
            missing[entity] = tuple(absent)
        else:
            complete.append(row)
    if missing:
        for name, values in columns.items():
            columns[name] = [values[row] for row in complete]
    return FeatureRows(tuple(columns[key]), columns, missing)


def encoded_user(spec: FeatureSpec, rows: FeatureRows) -> Encoded | None:
    """The features of the one user in ``rows``; None where the feature store does not know that user.

    Raises ServiceError for a feature that is absent, and for a value of the wrong type.
    """
    if not rows.ids:
        log.warning("no user features: %s", dict(rows.missing))
        return None
    try:
        user = spec.encode("user", rows.columns)
    except (LookupError, TypeError, ValueError, OverflowError) as error:
        log.warning("user features that cannot be encoded: %r", error)
        what = f"gives user features that cannot be encoded ({type(error).__name__})"
        raise base.ServiceError("feast", what) from error
    if not np.isfinite(user.values).all():
        raise base.ServiceError("feast", "gives user features that are no numbers")
    return user


@dataclass(eq=False)
class PendingRow:
    """Pending fetch of one user's features.

    Attributes:
        deadline: when the row is no longer waited for.
        began, ended: seconds of `time.perf_counter`; None: not yet.
    """

    number: int  # of the user
    deadline: base.Deadline
    rows: futures.Future[FeatureRows] = field(default_factory=futures.Future)
    began: float = field(default_factory=time.perf_counter)
    ended: float | None = None


class UserFeatures:
    """Batched fetches of user features: one call at a time (and one of strict requests); later users share the next."""

    def __init__(self, store: FeatureStore) -> None:
        self._store = store
        self._callers = {
            strict: futures.ThreadPoolExecutor(1, "user-features")
            for strict in (False, True)
        }
        self._lock = threading.Lock()
        # by release, and whether they are strict
        self._waiting: dict[tuple[str, bool], list[PendingRow]] = {}

    def fetch(
        self,
        release: str,
        number: int,
        deadline: base.Deadline,
        *,
        strict: bool = False,
    ) -> PendingRow:
        """Start fetching a user's row. Returns at once; `result` gives the row.

        ``deadline``: when the row is no longer waited for; the service's own timeout counts as well.
        """
        pending = PendingRow(
            number, min(deadline, base.Deadline.after(self._store.timeout_s))
        )
        refusal = None if strict else self._store.breaker.refusal
        if refusal is not None:  # fail at once, without a place in the queue
            pending.ended = pending.began
            pending.rows.set_exception(refusal)
            return pending
        with self._lock:
            self._waiting.setdefault((release, strict), []).append(pending)
        self._callers[strict].submit(self._call_next, release, strict)
        return pending

    def result(self, pending: PendingRow) -> FeatureRows:
        """Wait for the user's row; none for an unknown user. Raises ServiceError, at the deadline at the latest."""
        try:
            return pending.rows.result(pending.deadline.left())
        except (TimeoutError, futures.CancelledError) as error:
            pending.rows.cancel()
            raise base.ServiceError(self._store.service, base.OUT_OF_TIME) from error

    def _call_next(self, release: str, strict: bool) -> None:
        """Fetch the rows that requests wait for under a release, unless an earlier call has done so already."""
        # at most `MAX_USERS`; rows that nobody waits for any more are dropped
        with self._lock:
            waiting = self._waiting.pop((release, strict), [])
            if len(waiting) > MAX_USERS:
                self._waiting[release, strict] = waiting[MAX_USERS:]
        batch = [
            pending
            for pending in waiting[:MAX_USERS]
            if pending.rows.set_running_or_notify_cancel()
        ]
        if not batch:
            return
        numbers = tuple(sorted({pending.number for pending in batch}))
        query = FeatureQuery("user", release, numbers)
        last_deadline = max(pending.deadline for pending in batch)
        try:
            answer = self._store.call(query, last_deadline, strict=strict)
            rows = [row_of(answer, pending.number) for pending in batch]
        except BaseException as error:
            for pending in batch:
                pending.ended = time.perf_counter()
                pending.rows.set_exception(error)
            return
        for pending, row in zip(batch, rows, strict=True):
            pending.ended = time.perf_counter()
            pending.rows.set_result(row)

    def close(self) -> None:
        for caller in self._callers.values():
            caller.shutdown()


def row_of(answer: FeatureRows, number: int) -> FeatureRows:
    """One user's row of an answer for several."""
    if number not in answer.ids:
        return FeatureRows((), {}, {number: answer.missing.get(number, ())})
    place = answer.ids.index(number)
    columns = {name: [values[place]] for name, values in answer.columns.items()}
    return FeatureRows((number,), columns, {})


@dataclass(frozen=True, eq=False)
class EncodedItems:
    """The features of all items that have every feature."""

    item_numbers: NDArray[np.int32]  # (n,) ascending
    rows: Encoded  # (n,)

    def find(self, wanted: NDArray[np.integer]) -> tuple[NDArray[np.bool_], Encoded]:
        """Mask of ``wanted`` (m,) that are here, and the rows of those, in the order wanted."""
        codes = Vocabulary(self.item_numbers).codes(wanted)
        known = codes > 0
        return known, self.rows[codes[known] - 1]
