"""Estimate machines and cost for data that nobody here has, each number with its formula.

Read off lines through what was measured (scale.json, index_growth.json, waterfall.json, layouts.json), far beyond the
largest measurement: an order of magnitude, no promise. The constants below are assumptions.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from data_exchange_center.settings import Settings
from research.figure_files import FIGURES
from research.figures.costs import quickest
from research.figures.tables import Figure, block, measured, not_measured, read, table

TARGETS: Final = ((10_000_000, 1_000_000), (100_000_000, 10_000_000))  # users, items
CORES: Final = 16  # of a machine
MACHINE_GB: Final = 64
PER_HOUR: Final = 0.80  # US dollars a machine, what clouds ask on demand
NIGHT_HOURS: Final = 1.0  # in which a night's steps have to be over
HISTORY_BYTES, SEEN_BYTES = 13, 4  # of an event in Redis: in the user's history, and among the items seen
USER_BYTES: Final = 500  # of a user in Redis around these: key, hash and fields, two entries of sorted sets
KEPT_RELEASES: Final[int] = Settings.model_fields["kept_releases"].default  # published, the active one among them
COPIES: Final = 2  # of what the stores hold: one that answers, and a replica
REQUESTS_A_DAY: Final = 5  # of a user
PEAK: Final = 3  # the busiest second's requests, times the mean
BUSY: Final = 0.5  # share of the cores that a peak may take: the rest is for a machine that fails
PER_REQUEST: Final = ("server", "redis", "feast", "triton")  # whose work for a request does not grow with the data
Figures = tuple[Figure, Figure, Figure, Figure]  # scale.json, waterfall.json, index_growth.json, layouts.json


class Row(NamedTuple):
    """One number, its formula and its unit."""

    name: str
    formula: str
    value: float
    unit: str = ""


@block("estimate", "scale.json")
def estimate(scale: Figure) -> str:
    """Machines and dollars of the nightly steps and of serving, for each of `TARGETS`; each with its measurements."""
    others = ("waterfall.json", "index_growth.json", "layouts.json")
    if missing := [not_measured(file) for file in others if not (FIGURES / file).is_file()]:
        return "\n\n".join(missing)
    waterfall, growth, layouts = map(read, others)
    if len({each["ratings"] for each in layouts["layouts"].values()}) < 2:
        return not_measured(others[2])
    figures = (scale, waterfall, growth, layouts)
    night, serving = (
        _by_target([list(rows(figures, *target)) for target in TARGETS]) for rows in (steps_rows, serving_rows)
    )
    of_night, of_serving = (" ".join(map(measured, each)) for each in ((scale, layouts), (waterfall, growth)))
    return f"**The steps, each night**\n\n{night}\n\n{of_night}\n\n**Serving**\n\n{serving}\n\n{of_serving}"


def _by_target(columns: Sequence[Sequence[Row]]) -> str:
    head = ("", "formula", *(f"{users:,} users x {items:,} items" for users, items in TARGETS))
    rows = [(of[0].name, of[0].formula, *(_with_unit(each) for each in of)) for of in zip(*columns, strict=True)]
    return table(head, rows)


def _with_unit(row: Row) -> str:
    rounded = f"{row.value:,.0f}" if row.value >= 10 else f"{row.value:.2g}"
    return f"${rounded}" if row.unit == "$" else f"{rounded} {row.unit}".strip()


def steps_rows(figures: Figures, users: int, items: int) -> Iterator[Row]:
    """Preparing with Spark, by lines over the events; training, which was measured with two sizes of the catalogue."""
    scale, layouts = figures[0], figures[3]
    of_spark = {each["step"]: each for each in scale["lines"] if each["engine"] == "spark"}
    of_pandas = [each for each in scale["lines"] if each["engine"] == "pandas"]
    at_hand = _at_hand(scale)
    events = users * at_hand["events"] / at_hand["users"]
    yield Row("events", "users x events of a user, as now", events)
    peak_mb = max(_at(each["peak_mb"], events) for each in of_pandas if each["step"] in of_spark)
    yield Row("memory to prepare with pandas, on one machine", "the largest line of peak memory", peak_mb / 1024, "GB")
    by_size = {each["ratings"]: each for each in layouts["layouts"].values()}
    smaller, larger = (by_size[size] for size in sorted(by_size)[-2:])
    each_mb = (larger["peak_mb"] - smaller["peak_mb"]) / (larger["ratings"] - smaller["ratings"])
    training_mb = larger["peak_mb"] + each_mb * (events - larger["ratings"])
    through = f"the line of peak memory through {smaller['ratings']:,} and {larger['ratings']:,} events"
    yield Row("memory of all steps, on one machine", through, training_mb / 1024, "GB")
    shuffled = sum(_at(each["written"], events) for each in of_spark.values())
    yield Row("bytes shuffled to prepare, with Spark", "the sum of the lines of bytes shuffled", shuffled / 2**30, "GB")
    preparing = sum(_at(each["cpu_seconds"], events) for each in of_spark.values()) / 3600
    yield Row("processor hours to prepare, with Spark", "the sum of the lines of processor seconds", preparing, "h")
    of_items = sum(_at(each["cpu_seconds_of_items"], items) for each in scale["catalogue"])
    training = of_items * events / at_hand["events"] / 3600
    by_items = f"the sum of the lines over the items x events / {at_hand['events']:,}"
    yield Row("processor hours to train", by_items, training, "h")
    machines = math.ceil((preparing + training) / (CORES * NIGHT_HOURS))
    in_time = f"processor hours / {CORES} cores / {NIGHT_HOURS:g} h, rounded up"
    yield Row(f"machines of {CORES} cores and {MACHINE_GB} GB", in_time, machines)
    cost = f"machines x {NIGHT_HOURS:g} h x ${PER_HOUR:.2f}"
    yield Row("a night's cost", cost, machines * NIGHT_HOURS * PER_HOUR, "$")


def serving_rows(figures: Figures, users: int, items: int) -> Iterator[Row]:
    """Memory of the stores; cores by the processor time of a request, and by the time of an exact enough search."""
    scale, waterfall, growth, _ = figures
    at_hand = _at_hand(scale)
    user_bytes = USER_BYTES + at_hand["events"] / at_hand["users"] * (HISTORY_BYTES + SEEN_BYTES)
    state = f"{USER_BYTES} + events of a user x ({HISTORY_BYTES} + {SEEN_BYTES}) bytes"
    yield Row("Redis: a user's state", state, user_bytes, "B")
    redis_gb = users * KEPT_RELEASES * user_bytes * COPIES / 2**30
    in_memory = f"users x a user's state x {KEPT_RELEASES} releases x {COPIES} copies"
    yield Row("Redis: memory", in_memory, redis_gb, "GB")
    yield Row("Feast: rows", f"(users + items) x {KEPT_RELEASES} releases", (users + items) * KEPT_RELEASES)
    rate = users * REQUESTS_A_DAY * PEAK / 86_400
    at_peak = f"users x {REQUESTS_A_DAY} a day x {PEAK} / 86,400 s"
    yield Row("requests a second, at the peak", at_peak, rate)
    busiest = max(waterfall["levels"], key=lambda level: level["in_flight"])["processor_ms"]
    for name in PER_REQUEST:
        yield Row(f"{name}: requests a second of one core", "1000 ms / processor ms of a request", 1000 / busiest[name])
    cores = rate * sum(busiest[name] for name in PER_REQUEST) / 1000
    yield Row("cores of these, at the peak", "requests a second x processor ms / 1000", cores)

    best = quickest(growth["rows"])[-1]  # of the largest catalogue
    index_gb = items * best.bytes_an_item * COPIES / 2**30
    yield Row("Elasticsearch: index", f"items x bytes an item x {COPIES} copies", index_gb, "GB")
    parts = math.ceil(items / best.items)
    yield Row(
        "Elasticsearch: parts of the index", f"items / {best.items:,} items, the most measured, rounded up", parts
    )
    searched = f"1000 ms / (parts x {best.ms:.1f} ms, the quickest index, {best.kind}, for all channels)"
    yield Row("Elasticsearch: requests a second of one core", searched, 1000 / (parts * best.ms))
    searching = rate * parts * best.ms / 1000
    yield Row("cores of Elasticsearch, at the peak", "requests a second / those of one core", searching)
    machines = math.ceil(max((cores + searching) / (CORES * BUSY), (redis_gb + index_gb) / MACHINE_GB))
    larger = f"the larger of cores / ({CORES} x {BUSY:g}) and memory / {MACHINE_GB} GB, rounded up"
    yield Row(f"machines of {CORES} cores and {MACHINE_GB} GB", larger, machines)
    yield Row("a month's cost", f"machines x 730 h x ${PER_HOUR:.2f}", machines * 730 * PER_HOUR, "$")


def _at_hand(scale: Figure) -> Figure:
    """Sizes of the data set that was measured as it is."""
    return next(row for row in scale["rows"] if row["factor"] == 1)


def _at(line: Figure, size: float) -> float:
    return float(line["fixed"] + line["each"] * size)
