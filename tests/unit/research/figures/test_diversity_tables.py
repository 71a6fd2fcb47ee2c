from __future__ import annotations

import importlib
from types import ModuleType

import pytest

from tests.unit.research.measure.diversity_figures import SERVED, TUNED


@pytest.fixture
def tables(pic: None) -> ModuleType:
    return importlib.import_module("research.figures.diversity_tables")


def test_every_value_stands_beside_what_it_costs(tables: ModuleType) -> None:
    block = tables.diversity(SERVED, str)
    assert "| 0 | 0.3000 | 0.0% | 0.5000 | 0.800 | 0.600 | 0.500 | 3.000 | 0.700 |" in block
    assert "| **0.2** | 0.2976 | 0.8% | 0.5000 | 0.900 | 0.700 | 0.600 | 3.000 | 0.700 |" in block
    assert "By validation 0.2 is the largest value" in block
    assert "it costs 0.8% of the NDCG@50 (0.3% to 1.3%)" in block
    assert "1,234 users, 75 items asked for; re-ranking takes 0.41 ms, p99 0.80 ms." in block


def test_every_way_stands_beside_the_rankers_order(tables: ModuleType) -> None:
    block = tables.ways(TUNED, str)
    assert "| as ranked | 0.800 | 0.600 | 0.500 | 3.000 | 0.700 |" in block
    assert "| one way | 0.850 | 0.700 | 0.550 | 3.100 | 0.600 |" in block
    assert "| a way that never costs so much | - | - | - | - | - |" in block
