"""The estimate for more users follows from the figures that it names, by the formulas that it shows."""

from __future__ import annotations

from typing import Any

import pytest

from research.figures import estimate as estimates
from research.figures.costs import quickest
from research.figures.estimate import Figures, serving_rows, steps_rows
from research.figures.tables import read


def line(fixed: float, each: float) -> dict[str, float]:
    return {"fixed": fixed, "each": each, "off": 0.0}


def searched(items: int, index: str, channel: str, found: float, ms: float) -> dict[str, Any]:
    measures = {"found": found, "p50_ms": ms, "num_candidates": 256, "bytes_an_item": 2**30 / 1_000}
    return {"items": items, "index": index, "channel": channel, **measures}


SEARCHES = [
    searched(1_000, "flat", "a", 1.0, 20.0),
    searched(1_000, "flat", "b", 1.0, 30.0),
    searched(1_000, "hnsw", "a", 1.0, 1.0),
    searched(1_000, "hnsw", "b", 0.97, 1.0),  # quick, but finds too little
    searched(10, "flat", "a", 1.0, 2.0),
    searched(10, "flat", "b", 1.0, 2.0),
]


@pytest.fixture(scope="module")
def figures() -> Figures:
    """Of a hundred events of ten users, with costs that are easy to reckon."""
    scale = {
        "rows": [{"factor": 1, "events": 100, "users": 10}],
        "lines": [
            {"engine": "spark", "step": "s1", "cpu_seconds": line(3_600, 36), "written": line(0, 2**30)},
            {"engine": "pandas", "step": "s1", "peak_mb": line(1_024, 1_024)},
        ],
        "catalogue": [{"cpu_seconds_of_items": line(0, 36)}, {"cpu_seconds_of_items": line(36, 0)}],
    }
    busy = {"server": 4.0, "redis": 1.0, "feast": 2.0, "triton": 1.0}
    levels = [{"in_flight": 16, "processor_ms": busy}, {"in_flight": 1, "processor_ms": dict.fromkeys(busy, 99.0)}]
    sizes = {"small": (1, 9_999), "large": (100, 3 * 1_024), "medium": (50, 2 * 1_024)}
    layouts = {name: {"ratings": ratings, "peak_mb": peak_mb} for name, (ratings, peak_mb) in sizes.items()}
    return scale, {"levels": levels}, {"rows": SEARCHES}, {"layouts": layouts}


def test_layouts_of_one_size_give_no_estimate(figures: Figures, monkeypatch: pytest.MonkeyPatch) -> None:
    only = {"layouts": {"small": figures[3]["layouts"]["small"], "again": figures[3]["layouts"]["small"]}}
    others = {"waterfall.json": figures[1], "index_growth.json": figures[2], "layouts.json": only}
    monkeypatch.setattr(estimates, "read", others.get)
    assert "layouts.json" in estimates.estimate(figures[0])


def test_each_table_is_of_one_machine() -> None:
    scale, layouts, waterfall, growth = (
        read(f"{name}.json")["machine"] for name in ("scale", "layouts", "waterfall", "index_growth")
    )
    assert scale == layouts
    assert waterfall == growth  # of scale.json serving takes only the data set's size


def test_a_night_costs_what_its_steps_and_training_take(figures: Figures) -> None:
    values = {row.name: row.value for row in steps_rows(figures, users=20, items=9)}
    assert values["events"] == 200
    assert values["memory to prepare with pandas, on one machine"] == 201
    assert values["memory of all steps, on one machine"] == pytest.approx(5)  # 2 GB and 3 GB for 50 and 100 events
    assert values["bytes shuffled to prepare, with Spark"] == 200
    assert values["processor hours to prepare, with Spark"] == 1 + 2
    assert values["processor hours to train"] == pytest.approx((9 * 36 + 36) * 2 / 3_600)
    assert values["a night's cost"] == pytest.approx(0.8)  # 3.2 hours fit into one machine
    dearer = {row.name: row.value for row in steps_rows(figures, users=20, items=9_000)}
    assert dearer["a night's cost"] == pytest.approx(0.8 * 12)  # 183 hours, 16 cores


def test_serving_needs_the_cores_of_an_index_that_finds_enough(figures: Figures) -> None:
    values = {row.name: row.value for row in serving_rows(figures, users=864_000, items=2_500)}
    rate = 864_000 * 5 * 3 / 86_400
    assert values["Redis: a user's state"] == 500 + 10 * 17
    assert values["cores of these, at the peak"] == pytest.approx(rate * 8 / 1_000)  # of the level with most in flight
    assert values["cores of Elasticsearch, at the peak"] == pytest.approx(rate * 3 * 50 / 1_000)
    assert values["Elasticsearch: index"] == pytest.approx(5)
    assert [(each.items, each.kind, each.ms) for each in quickest(SEARCHES)] == [(10, "flat", 4), (1_000, "flat", 50)]
