"""Trials in Redis: what all servers know of them, as one value; what servers have counted; the logs of exposures.

Counts are sums of what each worker has added in the background, by canary and step; a worker's lost addition is lost
for both groups alike.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any, Final

import redis
from pydantic import ValidationError

from data_exchange_center import wire
from data_exchange_center.dataset import OwnId
from data_exchange_center.events import Event, Logged
from data_exchange_center.settings import Settings
from extras.events.log import (
    EXPOSE,
    EXPOSURES,
    SERVED,
    Call,
    exposure_user,
    exposures_key,
    run,
)
from extras.published import readable
from extras.trials.exposures import Exposure
from extras.trials.quality import Report
from extras.trials.state import Canary, Trials
from online.clients.base import StoredError
from online.clients.redis import RedisClient, RedisUsers

log = logging.getLogger(__name__)

KEY: Final = "ml:trials"  # string: `Trials`, as JSON; or absent
COUNTS_KEPT_S: Final = 7 * 24 * 3600
# Data set and window in seconds -> string: report, as JSON
report_key: Final = "ml:quality:{}:{}".format
# Log -> entries of a partition, about: 200,000 and 100,000 in all, some 100 MB and 50 MB of lists of fifty
KEPT: Final = {EXPOSURES: 12_500, SERVED: 6_250}
_AT_A_TIME: Final = 1_000

Change = Callable[[Trials], Trials]


class TrialStore(RedisClient[None, Trials]):
    """Trials, their counts and exposures, and the reports on quality. Its methods raise ServiceError."""

    def _call(self, query: None) -> Trials:
        return _trials(self._redis.get(KEY))

    def update(self, change: Change) -> Trials:
        """Change the trials in one transaction, and log it. Raises what ``change`` raises, too."""

        def changed(pipe: redis.client.Pipeline) -> Any:  # typed to return nothing
            before = _trials(pipe.get(KEY))
            after = change(before)
            pipe.multi()
            if after != before:
                pipe.set(KEY, after.model_dump_json())
            return before, after

        with self._limited("update"):
            both: Any = self._redis.transaction(changed, KEY, value_from_callable=True)
        before, after = both
        found: Trials = after
        # one line, by the process that has changed it
        if found.canary != before.canary:
            log.warning("%s", found.canary or found.ended[0])
        return found

    def counted(self, canary: Canary, counts: Mapping[str, int]) -> dict[str, int]:
        """Add a worker's counts of the canary's step. Return the sums of all workers."""
        key = f"ml:canary:{canary.name}:{canary.step}"
        with self._limited("counted"), self._redis.at(key) as server:
            pipe = server.pipeline(transaction=True)
            for name, count in counts.items():
                pipe.hincrby(key, name, count)
            pipe.expire(key, COUNTS_KEPT_S)
            pipe.hgetall(key)
            *_, stored = pipe.execute()
        return {name.decode(): int(count) for name, count in stored.items()}

    # --- exposures, and the events that they are joined with

    def expose(self, exposures: Sequence[Exposure]) -> None:
        """Append exposures to the log of trials, or of the sample; each keeps the newest."""
        calls = []
        for each in exposures:
            stream = _stream(each.experiment)
            keys = (
                exposures_key(wire.event_partition(each.userid), stream),
                wire.user_events_key(each.dataset, each.userid),
            )
            arguments = (
                KEPT[stream],
                each.answered,
                exposure_user(each.dataset, each.userid),
                each.model_dump_json(),
            )
            calls.append(Call(EXPOSE, keys, arguments))
        with self._limited("expose"):
            run(self._redis, calls)

    def exposures(self, trial: str = "", since_ms: int = 0) -> Iterator[Exposure]:
        """Exposures of a trial, or of the sample, that the log has, each once, and each partition's in order."""
        for partition in range(wire.EVENT_PARTITIONS):
            key, after = exposures_key(partition, _stream(trial)), f"{since_ms}"
            seen = set[str]()  # one may have been written twice
            while after:
                with self._limited("exposures"):
                    entries: Any = self._redis.xrange(key, min=after, count=_AT_A_TIME)
                    found = [
                        Exposure.model_validate_json(fields[b"exposure"])
                        for _, fields in entries
                    ]
                after = f"({entries[-1][0].decode()}" if entries else ""
                for each in found:
                    if each.experiment == trial and each.recommendation not in seen:
                        seen.add(each.recommendation)
                        yield each

    def events_of(
        self, dataset: str, userids: Sequence[OwnId]
    ) -> dict[OwnId, list[Event]]:
        """Events of users of a data set (`Dataset.base_name`), in order."""
        events: dict[OwnId, list[Event]] = {}
        for start in range(0, len(userids), _AT_A_TIME):
            some = userids[start : start + _AT_A_TIME]
            with self._limited("events_of"):
                pipeline = self._redis.pipeline(transaction=False)
                for userid in some:
                    pipeline.hgetall(wire.user_events_key(dataset, userid))
                found = pipeline.execute()
            for userid, stored in zip(some, found, strict=True):
                stored.pop(wire.FORGOTTEN.encode(), None)
                logged = map(Logged.unpack, stored.values())
                in_order = sorted(logged, key=lambda each: each[:2])
                events[userid] = [each.event for each in in_order]
        return events

    # --- reports on quality

    def report(self, dataset: str, window_s: int) -> Report:
        """The last report on a data set; an empty one where there is none."""
        with self._limited("report"):
            raw: Any = self._redis.get(report_key(dataset, window_s))
            return Report.model_validate_json(raw) if raw else Report()

    def write_report(self, dataset: str, report: Report) -> None:
        with self._limited("write_report"):
            key = report_key(dataset, report.window_s)
            self._redis.set(key, report.model_dump_json())


def published_releases(settings: Settings) -> tuple[str | None, dict[str, str]]:
    """The active release; and each published release -> `Dataset.base_name`. Raises ServiceError."""
    with closing(RedisUsers(settings.redis)) as users:
        active, listed = users.listed()
        manifests = [each.manifest for each in readable(users, listed)]
    return active, {each.release: each.dataset.base_name for each in manifests}


def _trials(raw: Any) -> Trials:
    """Raises StoredError, which says nothing of Redis's health."""
    try:
        return Trials.model_validate_json(raw) if raw else Trials()
    except ValidationError as error:
        what = f"holds trials (key {KEY}) that cannot be read"
        raise StoredError("redis", what) from error


def _stream(trial: str) -> str:
    return EXPOSURES if trial else SERVED
