"""User features for many requests in few calls.

Feast needs 4.7 ms for one user and 7.2 ms for eight, and its server works on one call at a time. So while a call is in
flight, the users of further requests are collected for the next one. A single request never waits for others.
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
    """One call at a time; requests that arrive meanwhile share the next one."""

    def __init__(self, store: FeatureStore, breaker: Breaker) -> None:
        self._store = store
        self._breaker = breaker
        self._caller = ThreadPoolExecutor(1, "user-features")
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
        with self._lock:
            self._waiting.append(wanted)
        self._caller.submit(self._call_next)
        return wanted

    def result(self, asked: Asked) -> FeatureRows:
        """The user's row, or no row. Raises ServiceError, at the deadline at the latest."""
        try:
            return asked.rows.result(asked.deadline.left())
        except (FutureTimeoutError, CancelledError) as error:
            asked.rows.cancel()
            raise ServiceError(self._store.service, OUT_OF_TIME) from error

    def _call_next(self) -> None:
        """Fetch the rows of all waiting requests, unless an earlier call has done so already."""
        with self._lock:
            release = self._waiting[0].release if self._waiting else None
            batch = [wanted for wanted in self._waiting if wanted.release == release][:MAX_USERS]
            self._waiting = [wanted for wanted in self._waiting if wanted not in batch]
        batch = [wanted for wanted in batch if wanted.rows.set_running_or_notify_cancel()]  # excluded: gave up
        if not batch:
            return
        try:
            last, strict = max(batch, key=lambda wanted: wanted.deadline), any(wanted.strict for wanted in batch)
            store = Asking(self._store, self._breaker, last.deadline, strict, last.hurried)
            answer = store.call(FeatureQuery("user", release, tuple(sorted({wanted.userid for wanted in batch}))))
        except BaseException as error:
            for wanted in batch:
                wanted.rows.set_exception(error)
            return
        for wanted in batch:
            wanted.rows.set_result(_row(answer, wanted.userid))

    def close(self) -> None:
        self._caller.shutdown()


def _row(answer: FeatureRows, userid: int) -> FeatureRows:
    """One user's part of an answer for several."""
    ids: Sequence[int] = answer.columns.get(Columns.USER, ())
    if userid not in answer.ids:
        return FeatureRows((), {name: [] for name in answer.columns}, {userid: answer.missing.get(userid, ())})
    row = ids.index(userid)
    return FeatureRows((userid,), {name: [values[row]] for name, values in answer.columns.items()}, {})
