"""What serving takes for data that nobody here has: each number with its formula.

Redis holds users, Elasticsearch items; what a request costs of the other services does not grow with either. How often
people come is an assumption, and so are the machines and their price, which are those of `estimate`. Processor time is
read off one machine on which the services and whoever asked them ran together.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, Final

from data_exchange_center.history import EVENT_BYTES
from data_exchange_center.wire import KEPT_RELEASES
from past_one_machine.scaling.estimate import MACHINE_CORES, MACHINE_GB, MACHINE_PER_HOUR, Estimate

SEEN_BYTES: Final = 4  # of an item that is not recommended again: an int32
USER_BYTES: Final = 500  # of Redis's own, a user: key, hash and fields, and two entries in sorted sets
COPIES: Final = 2  # of what the stores hold: the one that is asked, and a replica
REQUESTS_A_DAY: Final = 5  # of a user: an assumption
PEAK: Final = 3  # the busiest second, in times of the mean: an assumption
BUSY: Final = 0.5  # share of the cores that a peak may take: the rest is for a machine that falls out
FOUND: Final = 0.95  # of the exact candidates, that an index must find to count
HOURS_A_MONTH: Final = 730
OTHER_SERVICES: Final = ("server", "redis", "feast", "triton")

Figure = Mapping[str, Any]
Rows = list[dict[str, Any]]


def user_bytes(events: float) -> float:
    """Bytes that a user with so many events takes in Redis, of one release, where no channel stores a vector.

    ``tests/services/offline_to_online/stores/test_redis.py`` holds it to what Redis says.
    """
    return USER_BYTES + events * (EVENT_BYTES + SEEN_BYTES)


def estimates(users: int, items: int, events: float, waterfall: Figure | None, growth: Figure | None) -> list[Estimate]:
    """What can be said: numbers whose figures are not there are left out.

    Args:
        events: of a user.
        waterfall: as `make bench-waterfall` writes it; None: not measured.
        growth: as `make bench-index items=...` writes it; None: not measured.
    """
    redis_gb = users * KEPT_RELEASES * user_bytes(events) * COPIES / 2**30
    rate = users * REQUESTS_A_DAY * PEAK / 86_400
    found = [
        Estimate(
            "Redis: a user's state",
            f"{USER_BYTES} + events of a user x ({EVENT_BYTES} + {SEEN_BYTES}) bytes",
            user_bytes(events),
            "B",
        ),
        Estimate(
            "Redis: memory",
            f"users x a user's state x {KEPT_RELEASES} releases x {COPIES} copies",
            redis_gb,
            "GB",
        ),
        Estimate("Feast: rows", f"(users + items) x {KEPT_RELEASES} releases", (users + items) * KEPT_RELEASES, ""),
        Estimate(
            "requests a second, at the peak",
            f"users x {REQUESTS_A_DAY} a day x {PEAK} (assumed) / 86,400 s",
            rate,
            "",
        ),
    ]
    others = _of_others(rate, waterfall) if waterfall else []
    index = _of_index(items, rate, growth) if growth else []
    return [*found, *others, *index, *(_of_machines(redis_gb, others, index) if others and index else ())]


def _of_others(rate: float, waterfall: Figure) -> list[Estimate]:
    """Requests a second of one core, of each service whose work does not grow; and their cores, last."""
    busiest = max(waterfall["levels"], key=lambda level: level["in_flight"])["processor_ms"]
    each = [
        Estimate(
            f"{service}: requests a second of one core",
            "1000 ms / processor ms of a request",
            1000 / busiest[service],
            "",
        )
        for service in OTHER_SERVICES
    ]
    cores = rate * sum(busiest[service] for service in OTHER_SERVICES) / 1000
    return [*each, Estimate("cores of these, at the peak", "requests a second x processor ms / 1000", cores, "")]


def _of_index(items: int, rate: float, growth: Figure) -> list[Estimate]:
    """Memory first, cores last; nothing where no index finds enough. A search is taken to keep one core busy for as
    long as it takes."""
    rows = _quickest_of_the_largest(growth["rows"])
    if not rows:
        return []
    ms = sum(row["p50_ms"] for row in rows)
    shards = math.ceil(items / rows[0]["items"])
    gb = items * rows[0]["bytes_an_item"] * COPIES / 2**30
    return [
        Estimate("Elasticsearch: index", f"items x bytes an item x {COPIES} copies", gb, "GB"),
        Estimate("Elasticsearch: parts of the index", "items / the most that were measured, rounded up", shards, ""),
        Estimate(
            "Elasticsearch: requests a second of one core",
            f"1000 ms / (parts x p50 of all channels, in the quickest index that finds {FOUND:.0%})",
            1000 / (shards * ms),
            "",
        ),
        Estimate(
            "cores of Elasticsearch, at the peak",
            "requests a second / those of one core",
            rate * shards * ms / 1000,
            "",
        ),
    ]


def _quickest_of_the_largest(rows: Rows) -> Rows:
    """Of the largest catalogue, the rows of the index that searches all channels in the least time, one a channel.

    Of each index and channel, the smallest breadth that finds enough; an index with a channel in which none does is
    left out. A flat one finds everything. A catalogue in which no index is left, as it was not measured to the end,
    counts as little as one that was not begun.
    """
    channels = {row["channel"] for row in rows}
    enough: defaultdict[tuple[int, str], dict[str, dict[str, Any]]] = defaultdict(dict)
    for row in sorted(rows, key=lambda row: row["num_candidates"]):
        if row["found"] >= FOUND:
            enough[row["items"], row["index"]].setdefault(row["channel"], row)
    able = [list(of.values()) for of in enough.values() if of.keys() == channels]
    return min(able, key=lambda of: (-of[0]["items"], sum(row["p50_ms"] for row in of)), default=[])


def _of_machines(redis_gb: float, others: list[Estimate], index: list[Estimate]) -> list[Estimate]:
    by_cores = (others[-1].value + index[-1].value) / (MACHINE_CORES * BUSY)
    by_memory = (redis_gb + index[0].value) / MACHINE_GB
    machines = math.ceil(max(by_cores, by_memory))
    return [
        Estimate(
            f"machines of {MACHINE_CORES} cores and {MACHINE_GB} GB, to serve",
            f"the larger of cores / ({MACHINE_CORES} x {BUSY:g}) and memory / {MACHINE_GB} GB, rounded up",
            machines,
            "",
        ),
        Estimate(
            "a month's cost",
            f"machines x {HOURS_A_MONTH} h x ${MACHINE_PER_HOUR:.2f} (assumed)",
            machines * HOURS_A_MONTH * MACHINE_PER_HOUR,
            "$",
        ),
    ]
