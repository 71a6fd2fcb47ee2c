"""Estimate machines and cost for data that nobody here has: each number with its formula.

Offline, the lines of `past_one_machine.scaling` are drawn on at most 16 million events and read at hundreds of times as
many: an order of magnitude, no promise. Serving, Redis holds users, Elasticsearch items; what a request costs of the
other services does not grow with either. How often people come is an assumption, and so are the machines and their
price. Processor time is read off one machine on which the services and their load ran together.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from data_exchange_center.history import EVENT_BYTES
from data_exchange_center.wire import KEPT_RELEASES
from past_one_machine.scaling import Line

TARGETS: Final = ((10_000_000, 1_000_000), (100_000_000, 10_000_000))  # users, items
CORES: Final = 16  # of a machine
MACHINE_GB: Final = 64
MACHINE_PER_HOUR: Final = 0.80  # US dollars: an assumption, about the on-demand price of clouds
WINDOW_HOURS: Final = 1.0  # in which a night's steps have to be over

SEEN_BYTES: Final = 4  # of an item that is not recommended again: an int32
USER_BYTES: Final = 500  # of Redis's own, a user: key, hash and fields, and two entries in sorted sets
COPIES: Final = 2  # of what the stores hold: the one that answers, and a replica
REQUESTS_A_DAY: Final = 5  # of a user: an assumption
PEAK: Final = 3  # the busiest second, in times of the mean: an assumption
BUSY: Final = 0.5  # share of the cores that a peak may take: the rest is for a machine that falls out
FOUND: Final = 0.95  # of the exact candidates, that an index must find to count
HOURS_A_MONTH: Final = 730
OTHER_SERVICES: Final = ("server", "redis", "feast", "triton")

Figure = Mapping[str, Any]


class Estimate(NamedTuple):
    """One number, and how it is reckoned."""

    name: str
    formula: str
    value: float
    unit: str = ""


def of_steps(found: Figure, users: int) -> list[Estimate]:
    """Estimate of the steps that run on Spark. ``found``: as `past_one_machine.scaling` writes it."""
    source = next(row for row in found["rows"] if row["factor"] == 1)
    of_spark = {each["step"]: each for each in found["lines"] if each["engine"] == "spark"}
    of_pandas = [each for each in found["lines"] if each["engine"] == "pandas" and each["step"] in of_spark]
    events = users * source["events"] / source["users"]

    def at(of: Figure, name: str) -> float:
        return Line(**of[name]).at(events)

    core_hours = sum(at(each, "cpu_seconds") for each in of_spark.values()) / 3600
    machines = max(1, math.ceil(core_hours / (CORES * WINDOW_HOURS)))
    shuffled = sum(at(each, "written") for each in of_spark.values())
    peak_gb = max(at(each, "peak_mb") for each in of_pandas) / 1024
    by_hour = f"machines x {WINDOW_HOURS:g} h x ${MACHINE_PER_HOUR:.2f} (assumed)"
    name = f"machines of {CORES} cores and {MACHINE_GB} GB"
    return [
        Estimate("events", "users x events of a user, as now", events),
        Estimate("memory of one machine, with pandas", "the largest line of peak memory", peak_gb, "GB"),
        Estimate("processor hours, with Spark", "the sum of the lines of processor seconds", core_hours, "h"),
        Estimate("bytes shuffled", "the sum of the lines of bytes shuffled", shuffled / 2**30, "GB"),
        Estimate(name, f"processor hours / {CORES} cores / {WINDOW_HOURS:g} h", machines),
        Estimate("a night's cost", by_hour, machines * WINDOW_HOURS * MACHINE_PER_HOUR, "$"),
    ]


def user_bytes(events: float) -> float:
    """Bytes that a user with so many events takes in Redis, of one release, where no channel stores a vector.

    ``tests/services/offline_to_online/stores/test_redis.py`` holds it to what Redis says.
    """
    return USER_BYTES + events * (EVENT_BYTES + SEEN_BYTES)


def of_serving(
    users: int, items: int, events: float, waterfall: Figure | None, growth: Figure | None
) -> list[Estimate]:
    """Rows of the estimate, without numbers whose figures are missing.

    Args:
        events: of a user.
        waterfall: as `make bench-waterfall` writes it; None: not measured.
        growth: as `make bench-index items=...` writes it; None: not measured.
    """
    redis_gb = users * KEPT_RELEASES * user_bytes(events) * COPIES / 2**30
    rate = users * REQUESTS_A_DAY * PEAK / 86_400
    formula = f"{USER_BYTES} + events of a user x ({EVENT_BYTES} + {SEEN_BYTES}) bytes"
    memory = f"users x a user's state x {KEPT_RELEASES} releases x {COPIES} copies"
    at_peak = f"users x {REQUESTS_A_DAY} a day x {PEAK} (assumed) / 86,400 s"
    found = [
        Estimate("Redis: a user's state", formula, user_bytes(events), "B"),
        Estimate("Redis: memory", memory, redis_gb, "GB"),
        Estimate("Feast: rows", f"(users + items) x {KEPT_RELEASES} releases", (users + items) * KEPT_RELEASES),
        Estimate("requests a second, at the peak", at_peak, rate),
    ]
    others = _of_others(rate, waterfall) if waterfall else []
    index = _of_index(items, rate, growth) if growth else []
    if others and index:
        by_cores = (others[-1].value + index[-1].value) / (CORES * BUSY)
        machines = math.ceil(max(by_cores, (redis_gb + index[0].value) / MACHINE_GB))
        larger = f"the larger of cores / ({CORES} x {BUSY:g}) and memory / {MACHINE_GB} GB, rounded up"
        by_month = f"machines x {HOURS_A_MONTH} h x ${MACHINE_PER_HOUR:.2f} (assumed)"
        index += [
            Estimate(f"machines of {CORES} cores and {MACHINE_GB} GB, to serve", larger, machines),
            Estimate("a month's cost", by_month, machines * HOURS_A_MONTH * MACHINE_PER_HOUR, "$"),
        ]
    return [*found, *others, *index]


def _of_others(rate: float, waterfall: Figure) -> list[Estimate]:
    """Requests a second of one core, of each service whose work does not grow; and their cores, last."""
    busiest = max(waterfall["levels"], key=lambda level: level["in_flight"])["processor_ms"]
    cores = rate * sum(busiest[service] for service in OTHER_SERVICES) / 1000
    formula = "1000 ms / processor ms of a request"
    each = [
        Estimate(f"{name}: requests a second of one core", formula, 1000 / busiest[name]) for name in OTHER_SERVICES
    ]
    return [*each, Estimate("cores of these, at the peak", "requests a second x processor ms / 1000", cores)]


def _of_index(items: int, rate: float, growth: Figure) -> list[Estimate]:
    """Memory first, cores last; nothing where no index finds enough. A search is taken to keep one core busy for as
    long as it takes."""
    rows = _quickest_of_the_largest(growth["rows"])
    if not rows:
        return []
    ms = sum(row["p50_ms"] for row in rows)
    shards = math.ceil(items / rows[0]["items"])
    gb = items * rows[0]["bytes_an_item"] * COPIES / 2**30
    of_core = f"1000 ms / (parts x p50 of all channels, in the quickest index that finds {FOUND:.0%})"
    cores = rate * shards * ms / 1000
    return [
        Estimate("Elasticsearch: index", f"items x bytes an item x {COPIES} copies", gb, "GB"),
        Estimate("Elasticsearch: parts of the index", "items / the most that were measured, rounded up", shards),
        Estimate("Elasticsearch: requests a second of one core", of_core, 1000 / (shards * ms)),
        Estimate("cores of Elasticsearch, at the peak", "requests a second / those of one core", cores),
    ]


def _quickest_of_the_largest(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of the index that searches all channels of the largest catalogue in the least time, one a channel.

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
