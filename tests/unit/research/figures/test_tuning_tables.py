from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

PIC = Path(__file__).parents[4] / "pic"


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return importlib.import_module("research.figures.tuning_tables")


def row(part: str, setting: str, value: Any, difference: float, p_value: float) -> dict[str, Any]:
    return {
        "part": part, "setting": setting, "value": value,
        "to the recipe": {"difference": difference, "p_value": p_value},
    }  # fmt: skip


def test_a_number_has_one_line_with_all_that_was_tried(tables: ModuleType) -> None:
    rows = [
        row("tower", "dim", 32, -0.0123, 1e-9),
        row("tower", "dim", 128, 0.0004, 0.3),
        row("tower", "start", "random", -0.002, 0.2),
        row("ranker", "hidden", [128, 64], 0.001, 0.01),
    ]
    figure = {
        "command": "make tune-recipe",
        "machine": {"cpu": "any", "cores": 2, "memory_gb": 25},
        "dataset": "ml-1m",
        "users": 1234,
        "as it is": {"recall": {"ndcg@50": 0.27}, "ranked": {"ndcg@50": 0.29}},
        "rows": {str(number): each for number, each in enumerate(rows)},
    }
    block = tables.tuned(figure, str)
    assert "| tower | `dim` | 32: -12.3**, 128: +0.4 |" in block
    assert "| tower | `start` | random: -2.0 |" in block
    assert "| ranker | `hidden` | 128-64: +1.0* |" in block
    assert "fused lists (0.2700)" in block
    assert "ranked ones (0.2900)" in block
    assert "1,234 users. Measured by `make tune-recipe`" in block
