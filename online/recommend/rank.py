"""Rank, the second stage: the candidates in the order of the ranking model, and the user's features that it needs.

Feast needs 4.7 ms for one user and 7.2 ms for eight, and its server works on one call at a time. So while a call is in
flight, further users are collected for the next one. Strict requests, which may wait longer, have calls of their own.
"""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from data_exchange_center.candidates import Candidates, model_inputs
from data_exchange_center.features import Encoded, FeatureSpec
from data_exchange_center.history import History
from online.clients.base import OUT_OF_TIME, Breaker, Caller, Client, Deadline, LimitedClient, ServiceError
from online.clients.feast import FeatureQuery, FeatureRows
from online.clients.triton import ScoreQuery
from online.recommend.loaded_release import Release
from online.recommend.types import Ranked, Stage

log = logging.getLogger(__name__)

MAX_USERS = 32  # per call


def rank(
    scorer: Caller[ScoreQuery, NDArray[np.float32]],
    opened: Release,
    user: Encoded,
    history: History,
    candidates: Candidates,
    timestamp: int,
) -> Ranked:
    """Score candidates by the ranking model and sort them, for a request at ``timestamp`` (seconds).

    Candidates without features cannot be scored and are left out. Raises ServiceError.
    """
    # The candidates' features, of those that have any
    known, items = opened.items.current().find(candidates.itemids)  # (n,) of bool; rows of those that are known
    if not known.all():
        log.warning("no features for items %s", candidates.itemids[~known].tolist())
        candidates = candidates.only(known)
    # Scores by Triton, best first; ties by itemid
    inputs = model_inputs(opened.spec, user, items, candidates, history, timestamp)  # (n, columns), history once
    query = ScoreQuery(inputs, opened.model_version, opened.model)
    scores = scorer.call(query)  # (n,)
    order = np.lexsort((candidates.itemids, -scores))
    return Ranked(candidates.itemids[order], scores[order], query, order)


def encoded_user(spec: FeatureSpec, rows: FeatureRows) -> Encoded | None:
    """The features of the one user in ``rows``; None where the feature store does not know that user.

    Raises ServiceError for a feature that is absent, and for a value of the wrong type.
    """
    if not rows.ids:
        log.warning("no user features: %s", dict(rows.missing))
        return None
    try:
        user = Encoded.of(spec.of("user"), rows.columns)
    except (LookupError, TypeError, ValueError, OverflowError) as error:
        log.warning("user features that cannot be encoded: %r", error)
        raise ServiceError("feast", f"gives user features that cannot be encoded ({type(error).__name__})") from error
    if not np.isfinite(user.values).all():
        raise ServiceError("feast", "gives user features that are no numbers")
    return user


@dataclass(eq=False)
class PendingRow:
    """Pending fetch of one user's features.

    Attributes:
        deadline: when the row is no longer waited for.
        short_budget: as of `LimitedClient`.
        began, ended: seconds of `time.perf_counter`; None: not yet.
    """

    userid: int
    deadline: Deadline
    short_budget: bool
    rows: Future[FeatureRows] = field(default_factory=Future)
    began: float = field(default_factory=time.perf_counter)
    ended: float | None = None

    def stage(self) -> Stage:
        """How long it took so far, and whether it gave a row."""
        failed = not self.rows.done() or self.rows.cancelled() or self.rows.exception() is not None
        return Stage(self.began, (self.ended or time.perf_counter()) - self.began, failed)


class UserFeatures:
    """Batched fetches of user features: one call at a time (and one of strict requests); later users share the next."""

    def __init__(self, store: Client[FeatureQuery, FeatureRows], breaker: Breaker) -> None:
        self._store = store
        self._breaker = breaker
        self._callers = {strict: ThreadPoolExecutor(1, "user-features") for strict in (False, True)}
        self._lock = threading.Lock()
        self._waiting: dict[tuple[str, bool], list[PendingRow]] = {}  # by release, and whether they are strict

    @property
    def waiting(self) -> int:
        """Requests that the next calls will fetch for."""
        return sum(map(len, list(self._waiting.values())))

    def fetch(
        self, release: str, userid: int, deadline: Deadline, *, strict: bool = False, short_budget: bool = False
    ) -> PendingRow:
        """Start fetching a user's row. Returns at once; `result` gives the row.

        ``deadline``: when the row is no longer waited for; the service's own timeout counts as well.
        """
        wanted = PendingRow(userid, min(deadline, Deadline.after(self._store.timeout_s)), short_budget)
        if not strict and (refusal := self._breaker.refusal) is not None:  # fail at once, without a place in the queue
            wanted.ended = wanted.began
            wanted.rows.set_exception(refusal)
            return wanted
        with self._lock:
            self._waiting.setdefault((release, strict), []).append(wanted)
        self._callers[strict].submit(self._call_next, release, strict)
        return wanted

    def result(self, pending: PendingRow) -> FeatureRows:
        """Wait for the user's row; none for an unknown user. Raises ServiceError, at the deadline at the latest."""
        try:
            return pending.rows.result(pending.deadline.left())
        except (FutureTimeoutError, CancelledError) as error:
            pending.rows.cancel()
            raise ServiceError(self._store.service, OUT_OF_TIME) from error

    def _call_next(self, release: str, strict: bool) -> None:
        """Fetch the rows that requests wait for under a release, unless an earlier call has done so already."""
        with self._lock:
            alike = self._waiting.pop((release, strict), [])
            if alike[MAX_USERS:]:
                self._waiting[release, strict] = alike[MAX_USERS:]
        batch = [
            wanted for wanted in alike[:MAX_USERS] if wanted.rows.set_running_or_notify_cancel()
        ]  # those still waited for
        if not batch:
            return
        last = max(batch, key=lambda wanted: wanted.deadline)
        store = LimitedClient(self._store, self._breaker, last.deadline, strict, last.short_budget)
        try:
            answer = store.call(FeatureQuery("user", release, tuple(sorted({wanted.userid for wanted in batch}))))
            places = {userid: place for place, userid in enumerate(answer.ids)}
            rows = []
            for wanted in batch:
                userid, place = wanted.userid, places.get(wanted.userid)
                if place is None:
                    rows.append(FeatureRows((), {}, {userid: answer.missing.get(userid, ())}))
                else:
                    of_user = {name: [values[place]] for name, values in answer.columns.items()}
                    rows.append(FeatureRows((userid,), of_user, {}))
        except BaseException as error:
            for wanted in batch:
                wanted.ended = time.perf_counter()
                wanted.rows.set_exception(error)
            return
        for wanted, row in zip(batch, rows, strict=True):
            wanted.ended = time.perf_counter()
            wanted.rows.set_result(row)

    def close(self) -> None:
        for caller in self._callers.values():
            caller.shutdown()
