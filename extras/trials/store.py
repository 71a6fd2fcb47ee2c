"""Trials in Redis: what all servers know of them, as one value; what servers have counted; the logs of exposures.

Counts are sums of what each worker has added in the background, by canary and step; a worker's lost addition is lost
for both groups alike.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar

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
Parsed = TypeVar("Parsed")


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

    def counted(
        self,
        canary: Canary,
        counts: Mapping[str, int] = {},
        users: Mapping[str, Collection[OwnId]] = {},
    ) -> tuple[dict[str, int], dict[str, int]]:
        """Add a worker's counts, and the users of each group that were answered. Return the sums of all workers.

        Counts, and the number of users of each group, are of the canary's step.
        """
        key = f"ml:canary:{{{canary.id}}}:{canary.step}"
        with (
            self._limited("counted"),
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
            pipe.hgetall(key)
            for group in GROUPS:
                pipe.pfcount(f"{key}:users:{group}")
            *_, stored, of_canary, of_active = pipe.execute()
        sums = {name.decode(): int(count) for name, count in stored.items()}
        return sums, {"canary": of_canary, "active": of_active}

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
                EXPOSURE.dump_json(each),
            )
            calls.append(Call(EXPOSE, keys, arguments))
        with self._limited("expose"):
            run(self._redis, calls)

    def exposures(self, trial: str = "", since_ms: int = 0) -> Iterator[Exposure]:
        """Exposures of a trial, or of the sample, that the log has, each once, and each partition's in order."""
        for partition in range(wire.EVENT_PARTITIONS):
            key, after = exposures_key(partition, _stream(trial)), f"{since_ms}"
            seen = set[str]()  # one may have been written twice
            while True:
                with self._limited("exposures"):
                    entries: Any = self._redis.xrange(key, min=after, count=_AT_A_TIME)
                if not entries:
                    break
                after = f"({entries[-1][0].decode()}"
                for _, fields in entries:
                    raw = fields[b"exposure"]
                    found = _parsed(EXPOSURE.validate_json, raw, "exposures")
                    if found.experiment == trial and found.recommendation not in seen:
                        seen.add(found.recommendation)
                        yield found

    def is_cut(self, since: int) -> bool:
        """Whether the log of trials may have dropped exposures since this second.

        Where it is full; entries deleted with a forgotten user leave free space in it.
        """
        for key in map(exposures_key, range(wire.EVENT_PARTITIONS)):
            with self._limited("is_cut"):
                length: Any = self._redis.xlen(key)
                earlier = self._redis.xrange(key, max=f"{since * 1_000}", count=1)
            if length >= KEPT[EXPOSURES] and not earlier:
                return True
        return False

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
        if not raw:
            return Report()
        return _parsed(Report.model_validate_json, raw, "a report on quality")

    def write_report(self, dataset: str, report: Report) -> None:
        with self._limited("write_report"):
            key = report_key(dataset, report.window_s)
            self._redis.set(key, report.model_dump_json())


def published_releases(users: RedisUsers) -> tuple[str | None, dict[str, str]]:
    """The active release; and each published release -> `Dataset.base_name`. Raises ServiceError."""
    active, listed = users.listed()
    manifests = [each.manifest for each in readable(users, listed)]
    return active, {each.release: each.dataset.base_name for each in manifests}


def _trials(raw: Any) -> Trials:
    what = f"trials (key {KEY})"
    return _parsed(Trials.model_validate_json, raw, what) if raw else Trials()


def _parsed(validate: Callable[[bytes], Parsed], raw: bytes, what: str) -> Parsed:
    """Raises StoredError."""
    try:
        return validate(raw)
    except ValidationError as error:
        raise StoredError("redis", f"holds {what} that cannot be read") from error


def _stream(trial: str) -> str:
    return EXPOSURES if trial else SERVED
