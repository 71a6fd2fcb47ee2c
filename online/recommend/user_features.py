"""User features for many requests in few calls.

Feast needs 4.7 ms for one user and 7.2 ms for eight, and its server works on one call at a time. So while a call is in
flight, the users of further requests are collected for the next one. A single request never waits for others.
Strict requests wait longer than others, and for a service that is left alone, so they have calls of their own.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass, field

from data_exchange_center.columns import Columns
from online.clients.base import OUT_OF_TIME, ServiceError
from online.clients.breaker import Asking, Breaker
from online.clients.deadline import Deadline
from online.clients.feast import FeatureQuery, FeatureRows
from online.recommend.item_cache import FeatureStore

MAX_USERS = 32  # a call


@dataclass(frozen=True, eq=False)
class Asked:
    """A user's features, being fetched. ``userid``: the user's number; ``strict``, ``hurried``: as `Asking`."""

    release: str
    userid: int
    deadline: Deadline
    strict: bool = False
    hurried: bool = False
    rows: Future[FeatureRows] = field(default_factory=Future)


class UserFeatures:
    """One call at a time, and one for strict requests; those that arrive meanwhile share the next one."""

    def __init__(self, store: FeatureStore, breaker: Breaker) -> None:
        self._store = store
        self._breaker = breaker
        self._callers = {strict: ThreadPoolExecutor(1, "user-features") for strict in (False, True)}
        self._lock = threading.Lock()
        self._waiting: list[Asked] = []

    @property
    def waiting(self) -> int:
        """Requests that the next call will fetch for."""
        return len(self._waiting)

    def ask(
        self, release: str, userid: int, deadline: Deadline, *, strict: bool = False, hurried: bool = False
    ) -> Asked:
        """Start fetching a user's row. Returns at once; `result` gives the row.

        ``deadline``: when the row is no longer waited for; the service's own timeout counts as well.
        """
        wanted = Asked(release, userid, min(deadline, Deadline.after(self._store.timeout_s)), strict, hurried)
        if not strict and (refusal := self._breaker.refusal) is not None:  # nobody queues for that
            wanted.rows.set_exception(refusal)
            return wanted
        with self._lock:
            self._waiting.append(wanted)
        self._callers[strict].submit(self._call_next, strict)
        return wanted

    def result(self, asked: Asked) -> FeatureRows:
        """The user's row, or no row. Raises ServiceError, at the deadline at the latest."""
        try:
            return asked.rows.result(asked.deadline.left())
        except (FutureTimeoutError, CancelledError) as error:
            asked.rows.cancel()
            raise ServiceError(self._store.service, OUT_OF_TIME) from error

    def _call_next(self, strict: bool) -> None:
        """Fetch the rows of all waiting requests of a kind, unless an earlier call has done so already."""
        with self._lock:
            alike = [wanted for wanted in self._waiting if wanted.strict == strict]
            release = alike[0].release if alike else None
            batch = [wanted for wanted in alike if wanted.release == release][:MAX_USERS]
            self._waiting = [wanted for wanted in self._waiting if wanted not in batch]
        batch = [wanted for wanted in batch if wanted.rows.set_running_or_notify_cancel()]  # excluded: gave up
        if not batch:
            return
        try:
            last = max(batch, key=lambda wanted: wanted.deadline)
            store = Asking(self._store, self._breaker, last.deadline, strict, last.hurried)
            answer = store.call(FeatureQuery("user", release, tuple(sorted({wanted.userid for wanted in batch}))))
            rows = [_row(answer, wanted.userid) for wanted in batch]
        except BaseException as error:
            for wanted in batch:
                wanted.rows.set_exception(error)
            return
        for wanted, row in zip(batch, rows, strict=True):
            wanted.rows.set_result(row)

    def close(self) -> None:
        for caller in self._callers.values():
            caller.shutdown()


def _row(answer: FeatureRows, userid: int) -> FeatureRows:
    """One user's part of an answer for several."""
    ids: Sequence[int] = answer.columns.get(Columns.USER, ())
    if userid not in answer.ids:
        return FeatureRows((), {name: [] for name in answer.columns}, {userid: answer.missing.get(userid, ())})
    row = ids.index(userid)
    return FeatureRows((userid,), {name: [values[row]] for name, values in answer.columns.items()}, {})
