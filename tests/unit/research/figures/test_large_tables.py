"""The tables of `make evaluate-large` are drawn from what its own code makes."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

import pytest

from tests.unit.research.figures.reading import BASE, cells, word


@pytest.fixture
def tables(pic: None) -> ModuleType:
    return importlib.import_module("research.figures.large_tables")


def judged(value: float, difference: float) -> dict[str, Any]:
    change = {"difference": difference, "low": 1.5 * difference, "high": 0.5 * difference}
    return dict.fromkeys(("recall@200", "ndcg@50"), value) | {
        "to the full way": dict.fromkeys(("recall@200", "ndcg@50"), change)
    }


ROWS = [
    {"channel": channel, "way": way, "alone": judged(0.7, lost), "fused": judged(0.75, 2 * lost)}
    for channel in ("tower", "ease")
    for way, lost in (("full", 0.0), ("1024", -0.004))
]
GROWTH = [
    {"kind": "tower", "way": "full", "items": 62_128, "cpu_seconds": 1.234, "peak_mb": 1700},
    {"kind": "ease", "way": "256", "items": 994_048, "cpu_seconds": 123.4, "peak_mb": 7123},
]
FIGURE = {
    **BASE, "ratings": "the ten before the last ten", "users": 5678, "items": 3883, "rows": ROWS, "growth": GROWTH,
}  # fmt: skip


def test_each_way_stands_with_its_loss(tables: ModuleType) -> None:
    block = tables.lost(FIGURE, word)
    rows = cells(block)
    assert rows[0] == ["channel", "way", "alone: recall@200", "alone: NDCG@50", "fused: recall@200", "fused: NDCG@50"]
    assert rows[1] == ["tower", "softmax over all items", "0.7000", "0.7000", "0.7500", "0.7500"]
    assert rows[2][1:3] == ["softmax over a sample of 1,024 items", "0.7000 (-4.0, -6.0 to -2.0)"]
    assert rows[4][1::4] == ["1,024 eigenvectors", "0.7500 (-8.0, -12.0 to -4.0)"]
    assert "5,678 users, 3,883 items" in block
    assert "Measured by `make it`" in block


def test_each_size_stands_with_what_it_takes(tables: ModuleType) -> None:
    rows = cells(tables.taken(FIGURE, word))
    assert rows[1:] == [
        ["tower", "softmax over all items", "62,128", "1.23", "1,700"],
        ["ease", "256 eigenvectors", "994,048", "123", "7,123"],
    ]


def test_every_word_is_translated(tables: ModuleType) -> None:
    asked: set[str] = set()

    def noting(text: str) -> str:
        asked.add(text)
        return text

    tables.lost(FIGURE, noting)
    tables.taken(FIGURE, noting)
    assert asked - set(importlib.import_module("research.figures.readme").CHINESE) == set()
