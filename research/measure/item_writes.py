"""Benchmark writes of items: whether reads notice that many items are added and removed, and whether memory comes back.

Requests arrive at a fixed rate throughout, while items are added, and then removed, in lists of 1,000, one call after
the other. New items have the attributes of known ones. The key that this needs is deleted at the end.

Reads   the running server, over HTTP; data_exchange_center/offline (who the users are); /proc
Prints  items per second, latencies of the reads of each phase and memory of the server's workers, as JSON
Run     make bench-items, after make up sync serve; items=10000, per_s=40
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Final

import numpy as np

from data_exchange_center import steps
from data_exchange_center.dataset import MAX_INTEGER, OwnId
from data_exchange_center.settings import Settings
from extras.client import Client
from extras.items.hook import MAX_AT_ONCE
from extras.keys import store as keys
from research.bench.load import Answered, Ask, Drawn, Loading, expect_answers, generator, known_userids, percentile_ms
from research.bench.processes import parts_of

KEY: Final = "bench-items"
BEFORE_S: Final = 20.0  # of a phase in which nothing is written
PART_S: Final = 2.0  # requests are sent for at least as long while something is
SETTLED_S: Final = 5.0  # after the last change, until memory is read
TIMEOUT_S: Final = 60.0  # of a call that writes


class Readers:
    """Requests at a fixed rate, and the memory of the server's workers meanwhile."""

    def __init__(self, settings: Settings, ask: Ask, per_s: float) -> None:
        self._url, self._ask, self._per_s = settings.server.url, ask, per_s
        self._drawn = Drawn(known_userids(settings), seed=0)
        self._workers = parts_of(settings)["server"]

    def memory_mb(self) -> float:
        """Resident memory of the largest process of the server."""
        return max(each.memory_info().rss for each in self._workers) / 2**20

    def during(self, done: Callable[[float], bool]) -> dict[str, Any]:
        """Send requests until ``done``, which gets the seconds so far. Returns what became of them."""
        answers: list[Answered] = []
        degraded, most_mb, began = 0, self.memory_mb(), time.perf_counter()
        while not done(time.perf_counter() - began):
            users = self._drawn.next(int(self._per_s * PART_S))
            run = expect_answers(self._url, self._ask(self._url, users, Loading(per_s=self._per_s)))
            answers += run.good
            degraded += run.degraded
            most_mb = max(most_mb, self.memory_mb())
        percentiles = {f"p{percent}_ms": percentile_ms(answers, percent) for percent in (50, 95, 99)}
        return {"reads": len(answers), "degraded": degraded, **percentiles, "worker_mb": round(most_mb)}

    def alone(self) -> dict[str, Any]:
        """For `BEFORE_S`, while nothing is written."""
        return self.during(lambda seconds: seconds >= BEFORE_S)


def new_items(client: Client, userids: list[OwnId], count: int) -> list[dict[str, Any]]:
    """Items of ids that no release has, with the attributes of those that users are recommended."""
    known = [item.model_extra or {} for userid in userids for item in client.recommend(userid, size=100).item_list]
    rng, texts = np.random.default_rng(0), isinstance(client.recommend(userids[0]).item_list[0].itemid, str)
    return [
        {
            "itemid": f"{KEY}:{number}" if texts else MAX_INTEGER - count + number,
            "title": f"New {number}",
            "attributes": known[int(rng.integers(len(known)))],
        }
        for number in range(count)
    ]


def measure(settings: Settings, client: Client, readers: Readers, count: int) -> dict[str, Any]:
    """Measure each phase. Raises ServerError, StepError."""
    items = new_items(client, known_userids(settings)[:50], count)
    lists = [items[start : start + MAX_AT_ONCE] for start in range(0, count, MAX_AT_ONCE)]

    def writing(write: Callable[[list[dict[str, Any]]], object]) -> dict[str, Any]:
        began = time.perf_counter()

        def all_lists() -> float:
            for some in lists:
                write(some)
            return time.perf_counter() - began

        with ThreadPoolExecutor(1) as background:
            written = background.submit(all_lists)
            found = readers.during(lambda seconds: written.done())
            return found | {"items_per_s": round(count / written.result())}

    found = {"before": readers.alone()}
    found["adding"] = writing(lambda some: client.add_items(*some))
    time.sleep(SETTLED_S)
    found["with new items"] = readers.alone()
    found["removing"] = writing(lambda some: client.remove_items(*(item["itemid"] for item in some)))
    time.sleep(SETTLED_S)
    found["after"] = readers.alone()
    for phase in found.values():
        phase["p99_ratio"] = round(phase["p99_ms"] / found["before"]["p99_ms"], 2)
    return found


@contextmanager
def a_key(settings: Settings) -> Iterator[str]:
    """A key; it is revoked at the end, and the file of keys as it was."""
    path = settings.keys_file
    had = path.exists()
    key = keys.add(path, KEY)
    try:
        yield key
    finally:
        keys.revoke(path, KEY)
        if not had:
            path.unlink()


def main(settings: Settings) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m research.measure.item_writes", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--items", type=int, default=10_000, help="how many are added")
    parser.add_argument("--per-s", type=float, default=40.0, help="reads per second")
    arguments = parser.parse_args()
    with (
        a_key(settings) as key,
        Client(settings.server.url, key, timeout_s=TIMEOUT_S, retries=0) as client,
        generator() as ask,
    ):
        found = measure(settings, client, Readers(settings, ask, arguments.per_s), arguments.items)
    print(json.dumps(found, indent=2))  # noqa: T201 (what this command is for)


if __name__ == "__main__":
    steps.run(main)
