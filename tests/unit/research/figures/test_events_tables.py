from __future__ import annotations

import importlib
from types import ModuleType

import pytest

from tests.unit.offline.evaluation.live_events import FIGURE

SPEED = {
    "command": "make bench-events",
    "machine": FIGURE["machine"],
    "changed answer": {"events": 300, "requests_per_s": 50.0, "p50_ms": 12.5, "p99_ms": 40.0},
    "batches": {"events": 20_000, "batch": 100, "senders": 4, "events_per_s": 3_456},
}


@pytest.fixture
def tables(pic: None) -> ModuleType:
    return importlib.import_module("research.figures.events_tables")


def test_the_tables_are_what_was_measured(tables: ModuleType) -> None:
    block = tables.live_events(FIGURE, str)
    assert "| never told | 0.200 (0.100–0.300) | 0.200 (0.100–0.300) | 0.300 (0.200–0.400) |" in block
    assert "| recall@50 | 0.000 (-0.100–0.100) | 0.100 (0.000–0.200) | 0.300 (0.200–0.400) |" in block
    assert "1,234 users, 5,678 liked events" in block
    assert "(7 users)" in block


def test_how_fast_events_are_is_a_sentence(tables: ModuleType) -> None:
    said = tables.speed(SPEED, str)
    assert "beside 50 requests/s: p50 12.5 ms, p99 40.0 ms (300 events)" in said
    assert "In batches of 100: 3,456 events/s (20,000 events)." in said


def test_every_word_is_in_both_languages(tables: ModuleType) -> None:
    asked: list[str] = []

    def word(text: str) -> str:
        asked.append(text)
        return text

    tables.live_events(FIGURE, word)
    tables.speed(SPEED, word)
    assert set(asked) - {"Measured by", "on", "cores", "data"} == set(tables.CHINESE)
