"""Benchmark events: from an event's acknowledgement to the first answer that knows it, and events per second.

Users rate the first item of their list, under other requests at a fixed rate; the time is from the acknowledgement to
an answer without that item. Then events of new users are sent in batches, as fast as the server accepts them. All
events are removed afterwards; `make events` waits until then.

Reads   the running server; data_exchange_center/offline (who the users are)
Writes  pic/figures/events.json
Run     make bench-events, after make up sync serve
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import Any, Final

import numpy as np

from data_exchange_center import steps
from data_exchange_center.dataset import OwnId
from data_exchange_center.release_parts import read_own_ids, release_of_artifacts
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from extras.events.event_parts import EventParts
from extras.events.events import Event
from research.bench.load import Drawn, Loading, expect_answers, generator, known_userids, ready, report
from research.evaluation.running_server import expect_release
from research.figure_files import FIGURES
from research.figures import costs
from research.measure.live_events import ServerLoop
from research.reports import publish

REQUESTS_PER_S: Final = 50.0  # in addition to the events
CHANGES: Final = 300  # events whose effect on an answer is timed
BATCH, BATCHES, SENDERS = 100, 200, 4
PREFIX: Final = "bench-events:"  # of eventids
WITHIN_S: Final = 10.0  # an answer that does not know the event by then is wrong
Rated = Callable[[str, OwnId, OwnId], Event]  # eventid, userid, itemid -> a user's rating of an item


def change_s(loop: ServerLoop, userid: OwnId, rated: Rated) -> float:
    """Seconds from the acknowledgement of an event to an answer that knows it. Raises StepError where none does."""
    first = loop.ask(userid, None, 1)[0]
    loop.tell([rated(f"{PREFIX}{userid}", userid, first)])
    reported = time.perf_counter()
    while time.perf_counter() - reported < WITHIN_S:
        if first not in loop.ask(userid, None, 50):
            return time.perf_counter() - reported
    raise StepError(f"User {userid!r} has rated {first!r} and is still recommended it after {WITHIN_S:.0f} s.")


def measure_changes(settings: Settings, loop: ServerLoop, rated: Rated) -> dict[str, Any]:
    drawn = Drawn(known_userids(settings), seed=0)
    users, url = drawn.next(CHANGES), settings.server.url
    requested = drawn.next(int(REQUESTS_PER_S * 5))
    with generator() as load, ThreadPoolExecutor(1) as background:
        expect_answers(url, load(url, requested, Loading(4)))  # warm
        seconds: list[float] = []
        with _taken_back(loop, users):
            while len(seconds) < len(users):
                running = background.submit(load, url, requested, Loading(per_s=REQUESTS_PER_S))
                while not running.done() and len(seconds) < len(users):
                    seconds.append(change_s(loop, users[len(seconds)], rated))
                expect_answers(url, running.result())
    p50, p99 = (float(round(q * 1_000, 1)) for q in np.quantile(seconds, [0.5, 0.99]))
    return {"events": len(seconds), "requests_per_s": REQUESTS_PER_S, "p50_ms": p50, "p99_ms": p99}


def measure_batches(
    loop: ServerLoop, unknown_users: Sequence[OwnId], items: Sequence[OwnId], rated: Rated
) -> dict[str, Any]:
    """Measure events per second. ``unknown_users``: new users, one per batch."""

    def batch(number: int) -> list[Event]:
        return [
            rated(f"{PREFIX}{number}-{n}", unknown_users[number], items[(number * BATCH + n) % len(items)])
            for n in range(BATCH)
        ]

    with ThreadPoolExecutor(SENDERS) as pool, _taken_back(loop, unknown_users):
        began = time.perf_counter()
        list(pool.map(lambda number: loop.tell(batch(number)), range(len(unknown_users))))
        seconds = time.perf_counter() - began
    events = BATCH * len(unknown_users)
    return {"events": events, "batch": BATCH, "senders": SENDERS, "events_per_s": round(events / seconds)}


@contextmanager
def _taken_back(loop: ServerLoop, userids: Sequence[OwnId]) -> Iterator[None]:
    """Remove the benchmark's events of an earlier run before the block, and its own after it."""
    try:
        for userid in userids:
            loop.take_back(userid, PREFIX)
        yield
    finally:
        for userid in userids:
            loop.take_back(userid, PREFIX)


def main(settings: Settings) -> None:
    release = release_of_artifacts(settings)
    dataset = release.dataset
    expect_release(settings.server.url, release.release)
    own_ids = read_own_ids(settings.exchange_dir)
    kind = next(name for name, effect in dataset.event_types.items() if effect == "rates")
    value = dataset.levels[-1] if dataset.has_values else None
    last = max(own_ids.users)
    new = range(last + 1, last + 1 + BATCHES)
    unknown_users: list[OwnId] = [number if dataset.user_ids == "integer" else f"{PREFIX}{number}" for number in new]

    def rated(eventid: str, userid: OwnId, itemid: OwnId) -> Event:
        return Event(eventid, userid, itemid, kind, int(time.time()), value)

    with (
        EventParts(settings.events_dir(dataset.base_name)).locked(),
        closing(ServerLoop(settings, release.release, dataset.base_name)) as loop,
    ):
        changes = measure_changes(settings, loop, rated)
        batches = measure_batches(loop, unknown_users, list(own_ids.items.numbers), rated)
    server, measured = ready(settings.server.url), {"changed answer": changes, "batches": batches}
    found = report(settings, server, {"command": "make bench-events"}, measured)
    publish(FIGURES / "events.json", found, costs.speed)


if __name__ == "__main__":
    steps.run(main, about=__doc__)
