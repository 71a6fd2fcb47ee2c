from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import pytest

from tests.unit.offline.evaluation.live_events import FIGURE

PIC = Path(__file__).parents[3] / "pic"


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(PIC))
    return importlib.import_module("events_tables")


def test_the_tables_are_what_was_measured(tables: ModuleType) -> None:
    block = tables.live_events(FIGURE, str)
    assert "| never told | 0.200 | 0.200 | 0.300 |" in block
    assert "| recall@50 | 0.000 | 0.100 | 0.300 |" in block
    assert "1,234 users, 5,678 liked events" in block
    assert "(7 users)" in block


def test_every_word_is_in_both_languages(tables: ModuleType) -> None:
    asked: list[str] = []
    tables.live_events(FIGURE, lambda text: (asked.append(text), text)[1])
    assert set(asked) - {"Measured by", "on", "cores", "data"} == set(tables.CHINESE)
