"""What serving takes, each number from its formula."""

from __future__ import annotations

import math
from typing import Any

import pytest

from past_one_machine.scaling import serving
from past_one_machine.scaling.estimate import MACHINE_CORES, MACHINE_PER_HOUR
from past_one_machine.scaling.serving import BUSY, HOURS_A_MONTH, estimates, user_bytes

IDLE = dict.fromkeys(("server", "redis", "elasticsearch", "feast", "triton"), 9.0)
LOADED = {"server": 5.0, "redis": 0.1, "elasticsearch": 2.5, "feast": 1.9, "triton": 1.0}
WATERFALL: dict[str, Any] = {
    "levels": [{"in_flight": 1, "processor_ms": IDLE}, {"in_flight": 16, "processor_ms": LOADED}]
}


def row(index: str, channel: str, breadth: int, found: float, p50_ms: float, items: int = 1_000_000) -> dict[str, Any]:
    return {
        "items": items, "index": index, "channel": channel, "num_candidates": breadth, "found": found,
        "found by the worst served": found, "p50_ms": p50_ms, "p99_ms": 2 * p50_ms, "loaded_s": 1.0,
        "bytes_an_item": 700 if index == "hnsw" else 600,
    }  # fmt: skip


GROWTH: dict[str, Any] = {
    "rows": [
        row("flat", "tower", 256, 1.0, 4.0, items=60_000),
        row("flat", "tower", 256, 1.0, 60.0),
        row("flat", "ease", 256, 1.0, 60.0),
        row("hnsw", "tower", 4000, 0.99, 16.0),
        row("hnsw", "tower", 256, 0.8, 3.0),
        row("hnsw", "tower", 1000, 0.96, 6.0),
        row("hnsw", "ease", 256, 0.97, 4.0),
    ]
}


def values(items: int = 1_000_000, growth: dict[str, Any] | None = GROWTH) -> dict[str, float]:
    """Of 10 million users with 100 events each."""
    return {each.name: each.value for each in estimates(10_000_000, items, 100, WATERFALL, growth)}


def test_redis_holds_two_releases_of_every_user_twice() -> None:
    assert user_bytes(100) == 500 + 100 * 17
    assert values()["Redis: memory"] == pytest.approx(1e7 * 2200 * 2 * 2 / 2**30)
    assert values()["Feast: rows"] == 2 * 11_000_000


def test_a_requests_processor_time_is_that_under_the_most_load() -> None:
    found = values()
    assert found["server: requests a second of one core"] == pytest.approx(200)
    assert found["triton: requests a second of one core"] == pytest.approx(1000)
    rate = found["requests a second, at the peak"]
    assert rate == pytest.approx(1e7 * 5 * 3 / 86_400)
    assert found["cores of these, at the peak"] == pytest.approx(rate * 8.0 / 1000)


def test_the_index_is_the_quickest_that_finds_enough() -> None:
    """The graph at 1000 and at 256 neighbours: 10 ms for both channels."""
    found = values()
    assert found["Elasticsearch: index"] == pytest.approx(1e6 * 700 * 2 / 2**30)
    assert found["Elasticsearch: requests a second of one core"] == pytest.approx(100)
    ten_times = values(10_000_000)
    assert ten_times["Elasticsearch: parts of the index"] == 10
    assert ten_times["Elasticsearch: requests a second of one core"] == pytest.approx(10)


def test_an_index_in_which_one_channel_is_not_found_does_not_count() -> None:
    rows = [each for each in GROWTH["rows"] if (each["index"], each["channel"]) != ("hnsw", "ease")]
    found = values(growth={"rows": [*rows, row("hnsw", "ease", 4000, 0.9, 1.0)]})
    assert found["Elasticsearch: requests a second of one core"] == pytest.approx(1000 / 120)


def test_a_catalogue_that_was_measured_in_part_does_not_count() -> None:
    """The measurement writes every row that it has, and was ended before the last channel."""
    begun = {"rows": [*GROWTH["rows"], row("flat", "tower", 256, 1.0, 600.0, items=10_000_000)]}
    assert values(growth=begun) == values()


def test_without_an_index_that_finds_enough_nothing_is_said_of_it() -> None:
    found = values(growth={"rows": [row("hnsw", "tower", 4000, 0.9, 1.0)]})
    assert not [name for name in found if "Elasticsearch" in name or "machines" in name]


def test_a_small_catalogue_is_one_part() -> None:
    assert values(1_000)["Elasticsearch: parts of the index"] == 1


def test_machines_are_enough_for_processors_and_for_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    found = values()
    cores = found["cores of these, at the peak"] + found["cores of Elasticsearch, at the peak"]
    machines = found["machines of 16 cores and 64 GB, to serve"]
    assert machines == math.ceil(cores / (MACHINE_CORES * BUSY))
    assert found["a month's cost"] == pytest.approx(machines * HOURS_A_MONTH * MACHINE_PER_HOUR)
    monkeypatch.setattr(serving, "USER_BYTES", 100_000)
    memory = values()["Redis: memory"] + values()["Elasticsearch: index"]
    assert values()["machines of 16 cores and 64 GB, to serve"] == math.ceil(memory / 64) > machines


def test_what_is_not_measured_is_left_out() -> None:
    of_stores = {each.name for each in estimates(1000, 100, 10, None, None)}
    assert of_stores == {"Redis: a user's state", "Redis: memory", "Feast: rows", "requests a second, at the peak"}
    without_index = values(growth=None)
    assert "server: requests a second of one core" in without_index
    assert not [name for name in without_index if "Elasticsearch" in name or "machines" in name]
