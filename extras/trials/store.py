"""Trials in Redis: what all servers know of them, as one value; what servers have counted; the logs of exposures.

Counts are sums of what each worker has added in the background, by canary and step; a worker's lost addition is lost
for both groups alike.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Final

import redis
from pydantic import ValidationError

from data_exchange_center import wire
from data_exchange_center.dataset import OwnId
from data_exchange_center.events import Event, Logged
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
from extras.trials.exposures import EXPOSURE, Exposure
from extras.trials.quality import Report
from extras.trials.state import GROUPS, Canary, Trials
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
        # one line, by the process that has changed it
        if before.canary and not after.canary:
            log.warning("%s", after.ended[0])
        elif after.canary and after.canary != before.canary:
            activating = "; it is being activated" if after.canary.activating else ""
            log.info("%s%s", after.canary, activating)
        found: Trials = after
        return found

    def known_users(self, release: str) -> int:
        """How many users a release knows."""
        with self._limited("known_users"):
            return int(self._redis.zcard(wire.ids_key(release)))  # type: ignore[arg-type]

    # --- counts of a canary's step

    def add(
        self,
        canary: Canary,
        counts: Mapping[str, int],
        users: Mapping[str, Collection[OwnId]],
    ) -> None:
        """Add a worker's counts, and the users of each group that were answered."""
        key = _counts_key(canary)
        with (
            self._limited("add"),
            self._redis.at(key) as server,
            server.pipeline(transaction=True) as pipe,
        ):
            for name, count in counts.items():
                pipe.hincrby(key, name, count)
            pipe.expire(key, COUNTS_KEPT_S)
            for group, answered in users.items():
                of_users = f"{key}:users:{group}"
                pipe.pfadd(of_users, *map(str, answered))
                pipe.expire(of_users, COUNTS_KEPT_S)
            pipe.execute()

    def counts(self, canary: Canary) -> tuple[dict[str, int], dict[str, int]]:
        """All workers' counts of the canary's step, and how many users of each group it has."""
        key = _counts_key(canary)
        with (
            self._limited("counts"),
            self._redis.at(key) as server,
            server.pipeline(transaction=True) as pipe,
        ):
            pipe.hgetall(key)
            for group in GROUPS:
                pipe.pfcount(f"{key}:users:{group}")
            stored, *users = pipe.execute()
        counts = {name.decode(): int(count) for name, count in stored.items()}
        return counts, dict(zip(GROUPS, map(int, users), strict=True))

    # --- exposures, and the events that they are joined with

    def expose(
        self, exposures: Sequence[Exposure], stream: str = EXPOSURES, kept: int = 0
    ) -> None:
        """Append exposures to a log, which keeps the newest of a partition; ``kept``: how many, if not as `KEPT`."""
        calls = []
        for each in exposures:
            keys = (
                exposures_key(wire.event_partition(each.userid), stream),
                wire.user_events_key(each.dataset, each.userid),
            )
            arguments = (
                kept or KEPT[stream],
                each.answered,
                exposure_user(each.dataset, each.userid),
                EXPOSURE.dump_json(each),
            )
            calls.append(Call(EXPOSE, keys, arguments))
        with self._limited("expose"):
            run(self._redis, calls)

    def exposures(
        self, trial: str = "", since_ms: int = 0, stream: str = EXPOSURES
    ) -> Iterator[Exposure]:
        """Exposures of a trial that the log has, each partition's in order."""
        for partition in range(wire.EVENT_PARTITIONS):
            after = f"{since_ms}"
            while True:
                with self._limited("exposures"):
                    entries: Any = self._redis.xrange(
                        exposures_key(partition, stream), min=after, count=_AT_A_TIME
                    )
                if not entries:
                    break
                after = f"({entries[-1][0].decode()}"
                for _, fields in entries:
                    exposure = _exposure(fields)
                    if exposure.experiment == trial:
                        yield exposure

    def is_cut(self, since: int, kept: int = KEPT[EXPOSURES]) -> bool:
        """Whether the log of trials may have dropped exposures since this second; ``kept``: as `expose`."""
        with self._limited("is_cut"):
            keys = map(exposures_key, range(wire.EVENT_PARTITIONS))
            streams: Any = [
                self._redis.xinfo_stream(key) for key in keys if self._redis.exists(key)
            ]
        return any(is_cut(each, since, kept) for each in streams)

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
            try:
                return Report.model_validate_json(raw) if raw else Report()
            except ValidationError as error:
                raise StoredError(
                    self.service, "holds a report on quality that cannot be read"
                ) from error

    def write_report(self, dataset: str, report: Report) -> None:
        with self._limited("write_report"):
            key = report_key(dataset, report.window_s)
            self._redis.set(key, report.model_dump_json())


def is_cut(stream: Mapping[str, Any], since: int, kept: int) -> bool:
    """Whether a stream, as XINFO STREAM describes it, is full and begins after this second.

    Entries deleted with a forgotten user leave free space in it.
    """
    if stream["length"] < kept:
        return False
    milliseconds, _, _ = stream["first-entry"][0].partition(b"-")
    return int(milliseconds) > since * 1_000


def published_releases(users: RedisUsers) -> tuple[str | None, dict[str, str]]:
    """The active release; and each published release -> `Dataset.base_name`. Raises ServiceError."""
    active, listed = users.listed()
    manifests = [each.manifest for each in readable(users, listed)]
    return active, {each.release: each.dataset.base_name for each in manifests}


def _trials(raw: Any) -> Trials:
    try:
        return Trials.model_validate_json(raw) if raw else Trials()
    except ValidationError as error:
        raise StoredError(
            "redis", f"holds trials that cannot be read (key {KEY})"
        ) from error


def _exposure(fields: Mapping[bytes, bytes]) -> Exposure:
    try:
        return EXPOSURE.validate_json(fields[b"exposure"])
    except (KeyError, ValueError) as error:
        raise StoredError("redis", "holds exposures that cannot be read") from error


def _counts_key(canary: Canary) -> str:
    return f"ml:canary:{{{canary.id}}}:{canary.step}"
