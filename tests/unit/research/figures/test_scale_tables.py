"""The tables of `make bench-scale` and of `make bench-index items=…` are drawn from what their own code makes."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.unit.past_one_machine.scaling.test_estimate import found
from tests.unit.past_one_machine.scaling.test_serving import GROWTH, WATERFALL
from tests.unit.research.figures.reading import BASE, cells, word


@pytest.fixture
def tables(pic: None) -> ModuleType:
    return importlib.import_module("research.figures.scale_tables")


@pytest.fixture
def figure() -> dict[str, Any]:
    return {**BASE, **found()}


def test_each_step_and_engine_has_its_costs_at_each_size(tables: ModuleType, figure: dict[str, Any]) -> None:
    rows = cells(tables.scale(figure, word))
    assert rows[0][2:4] == ["1,000 events", "4,000 events"]
    of_spark = next(row for row in rows if row[1] == "spark")
    assert of_spark[2:4] == ["2.0 / 1", "8.0 / 4"]
    assert of_spark[4:] == ["2000.00 (±0%)", "1024.00 (±0%)", "1000.0"]
    trained = rows[-2] if rows[-1][1] == "spark" else rows[-1]
    assert trained[3:] == ["-"] * 4


SYNTHESIS = {**BASE, "rows": {"source": {"events": 1_000, "users": 10}}}


@pytest.fixture
def figures(tables: ModuleType, figure: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in place of pic/figures, with all that an estimate reads."""
    for module in (tables, importlib.import_module("research.figures.tables")):
        monkeypatch.setattr(module, "FIGURES", tmp_path)
    for name, content in ((tables.SCALE, figure), (tables.WATERFALL, WATERFALL), (tables.GROWTH, GROWTH)):
        (tmp_path / name).write_text(json.dumps({**BASE, **content}), encoding="utf-8")
    return tmp_path


def test_an_estimate_has_its_formula(tables: ModuleType, figures: Path) -> None:
    rows = cells(tables.estimate(SYNTHESIS, word))
    assert rows[0][2:] == ["10,000,000 users x 1,000,000 items", "100,000,000 users x 10,000,000 items"]
    assert rows[1] == ["events", "users x events of a user, as now", "1,000,000,000", "10,000,000,000"]
    assert next(row for row in rows if row[0] == "a night's cost")[2:] == ["50 $", "500 $"]
    state = next(row for row in rows if row[0] == "Redis: a user's state")
    assert state[1:] == ["500 + events of a user x (13 + 4) bytes", "2,200 B", "2,200 B"]
    assert rows[-1][0] == "a month's cost"


def test_an_estimate_names_what_is_not_measured(tables: ModuleType, figures: Path) -> None:
    everything = tables.estimate(SYNTHESIS, word)
    assert "Not measured yet" not in everything
    for name, gone in (
        (tables.SCALE, "a night's cost"),
        (tables.GROWTH, "a month's cost"),
        (tables.WATERFALL, "server"),
    ):
        assert gone in everything
        (figures / name).unlink()
        left = tables.estimate(SYNTHESIS, word)
        assert f"Not measured yet: no command has written `pic/figures/{name}`." in left
        assert gone not in left
    assert "Redis: memory" in left


INDEX = {
    "items": 60_000, "index": "hnsw", "channel": "tower", "num_candidates": 256, "found": 0.98,
    "found by the worst served": 0.9, "p50_ms": 5.5, "p99_ms": 9.9, "loaded_s": 12.3, "bytes_an_item": 700,
}  # fmt: skip


def test_a_search_of_a_larger_catalogue_is_a_row(tables: ModuleType) -> None:
    rows = cells(tables.index_growth({**BASE, "rows": [INDEX]}, word))
    assert rows[1] == ["60,000", "hnsw", "tower", "256", "0.98", "0.9", "5.5", "9.9", "12.3", "700"]


def test_every_word_is_translated(tables: ModuleType, figure: dict[str, Any], figures: Path) -> None:
    asked: set[str] = set()

    def noting(text: str) -> str:
        asked.add(text)
        return text

    tables.scale(figure, noting)
    tables.estimate(SYNTHESIS, noting)
    tables.index_growth({**BASE, "rows": [INDEX]}, noting)
    assert asked - set(importlib.import_module("research.figures.readme").CHINESE) == set()
