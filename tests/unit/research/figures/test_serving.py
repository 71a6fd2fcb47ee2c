"""The blocks and pictures of the server's benchmarks are drawn from what the commands' own code makes."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

import pytest

from research.bench import cold_start, shed
from research.bench.cold_start import Start
from research.bench.compare import Loading, Turn, comparison
from research.bench.generator import Answered, Run
from research.bench.growth import Sample, growth
from research.bench.processes import PARTS, Use
from research.bench.waterfall import level_of, server_costs, with_waiting
from tests.unit.research.figures.reading import cells, word

STAGES = {"redis": 1.0, "elasticsearch": 6.0, "feast": 4.0, "triton": 3.0, "total": 12.0}


@pytest.fixture
def draw(pic: None) -> ModuleType:
    return importlib.import_module("research.figures.serving")


@pytest.fixture
def tables(pic: None) -> ModuleType:
    return importlib.import_module("research.figures.serving_tables")


def turn(slower: float = 1.0) -> Turn:
    took = {stage: slower * ms for stage, ms in STAGES.items()}
    answers = (Answered(slower * 0.013, 200, "a", took),) * 10
    return Turn(Run(0.13 * slower, answers, 0.002), dict.fromkeys(PARTS, 0.01 * slower))


def about(**figures: Any) -> dict[str, Any]:
    return {"command": "make it", "machine": {"cpu": "c", "cores": 2, "memory_gb": 8}, "dataset": "ml-1m", **figures}


@pytest.fixture
def waterfall() -> dict[str, Any]:
    levels = with_waiting([level_of(1, [turn()]), level_of(4, [turn(3.0)])])
    costs = {"redis": 0.1, "elasticsearch": 0.2, "feast": 0.1, "triton": 0.2, "own": 0.2}
    bare = {**dict.fromkeys(costs, 1.0), "chain": 9.0}
    return about(levels=levels, server_ms=server_costs(costs, 1.0), bare_ms=bare, p50_over_chain=1.44)


@pytest.fixture
def shed_figure() -> dict[str, Any]:
    best = {"in_flight": 4, "requests_per_s": 100.0, "p99_ms": 20.0}
    run = Run(1.0, (*(Answered(0.03, 200, "a"),) * 90, *(Answered(0.001, 503),) * 910), 0.1)
    points = [shed.point(run, factor, best) for factor in (0.5, 10.0)]
    return about(best=best, points=points, **shed.verdict(points))


def test_a_waterfall_says_what_each_stage_takes_waits_and_costs(tables: ModuleType, waterfall: dict[str, Any]) -> None:
    block = tables.waterfall(waterfall, word)
    rows = {row[0]: row[1:] for row in cells(block)}
    assert rows["elasticsearch"] == ["6.0", "12.0", "1.0", "0.2", "1.0"]
    assert rows["triton"] == ["3.0", "6.0", "1.0", "0.2", "1.0"]
    assert rows["own"] == ["2.0", "4.0", "1.0", "0.2", "-"]  # 12 - 1 - max(6, 4) - 3
    assert rows["http"][0] == "1.0"
    assert "1.44 times its slowest chain of bare calls (9.0 ms)" in block
    assert "20% with 1 in flight" in block


def test_what_is_shed_is_a_share(tables: ModuleType, shed_figure: dict[str, Any]) -> None:
    rows = cells(tables.shed(shed_figure, word))
    assert rows[-1] == ["10", "90%", "91%", "0%", "30.0", "30.0"]
    assert shed_figure["holds"] is True


def test_a_comparison_has_a_row_a_level(tables: ModuleType) -> None:
    name = Loading(in_flight=4).name
    levels = comparison({"this": {name: [turn()]}, "other": {name: [turn(2.0)]}})
    rows = cells(tables.against(about(levels=levels), word))
    assert rows[1] == ["4 in flight", "76.9", "13.0", "13.0", "2.0", "0.5", "0.5", "0.5"]
    assert "Both servers asked the same services." in tables.against(about(levels=levels, same_services=True), word)


def test_a_comparison_says_where_the_time_went_and_goes(tables: ModuleType) -> None:
    levels = comparison({"this": {"4": [turn()]}, "other": {"4": [turn(2.0)]}})
    block = tables.against(about(levels=levels), word).split("\n\n")[1]
    rows = {row[0]: row[1:] for row in cells(block)}
    assert rows["part"] == ["4: wall ms, before", "4: wall ms, now", "4: processor ms, before", "4: processor ms, now"]
    assert rows["elasticsearch"] == ["12.0", "6.0", "2.0", "1.0"]
    assert rows["server"] == ["-", "-", "2.0", "1.0"]
    assert rows["all"] == ["24.0", "12.0", "10.0", "5.0"]


def test_a_soak_says_what_it_found(tables: ModuleType) -> None:
    samples = [Sample(float(at), {"redis 1": Use(1.0, 20.0, 4, 9)}) for at in range(10)]
    figure = about(
        minutes=5, requests_per_s=50.0, switches=2, requests=15_000, errors={"503": 3}, degraded=1, p99_ms=40.0,
        processes=growth(samples, 0.0),
    )  # fmt: skip
    block = tables.soak(figure, word)
    assert cells(block)[1] == ["redis 1", "20.0", "20.0", "4", "9"]
    assert (
        "5 minutes at 50 requests/s, 2 release switches: 15,000 requests, 3 errors, 1 degraded, p99 40.0 ms." in block
    )


def test_a_cold_start_is_told_beside_a_warm_one(tables: ModuleType) -> None:
    slow, quick = Answered(0.2, 200, "a", degraded=("elasticsearch",)), Answered(0.01, 200, "a")
    starts = {"0 s": [Start(3.0, (slow, quick))], "5 s": [Start(6.0, (quick, quick))]}
    warm_up = {name: cold_start.summary(each) for name, each in starts.items()}
    block = tables.cold_start(about(rounds=1, requests_per_s=20.0, warm_up=warm_up), word)
    rows = {row[0]: row[1:] for row in cells(block)}
    assert rows["0 s"] == ["105.0", "198.1", "50.0%", "3.0"]
    assert rows["5 s"] == ["10.0", "10.0", "0.0%", "6.0"]
    assert "The first 2 requests after each of 1 starts, at 20 a second." in block


def test_pictures_are_drawn(draw: ModuleType, waterfall: dict[str, Any], shed_figure: dict[str, Any]) -> None:
    assert [axes.get_title(loc="center") for axes in draw.waterfall(waterfall).axes] == [
        "One request alone", "Waiting, by stage", "Processor time, by process",
    ]  # fmt: skip
    assert len(draw.shed(shed_figure).axes[0].lines) == 3


def test_every_word_is_in_both_languages(tables: ModuleType, waterfall: dict[str, Any]) -> None:
    asked: list[str] = []
    tables.waterfall(waterfall, lambda text: (asked.append(text), text)[1])
    names = {"Measured by", "on", "cores", "data", "redis", "elasticsearch", "feast", "triton"}  # left as they are
    assert set(asked) - names <= set(tables.CHINESE)
