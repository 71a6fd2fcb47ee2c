from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

import pytest

from data_exchange_center.settings import Settings
from research.baselines.contest import FUSION
from research.baselines.transformers import transformers
from research.baselines.weighted import classical

VALUES = {"recall@200": 0.7, "recall@50": 0.4, "ndcg@50": 0.25, "returning: recall@200": 0.5}
CHANGE = {"difference": -0.03, "low": -0.04, "high": -0.02, "p_value": 1e-9}


@pytest.fixture
def tables(pic: None) -> ModuleType:
    return importlib.import_module("research.figures.rivals_tables")


def row(**changed: Any) -> dict[str, Any]:
    known = {"seconds": 42.4, "settings tried": 30, "searched": True, "machine": "cpu a", "to the recipe": CHANGE}
    return {**VALUES, **known, **changed}


def figure(**rows: dict[str, Any]) -> dict[str, Any]:
    machine = {"cpu": "cpu b", "cores": 2, "memory_gb": 25}
    head = {"command": "make rivals", "machine": machine, "dataset": "ml-1m", "users": 1234}
    return {**head, "rows": rows, "references": {"fused recall": VALUES}}


def test_a_row_says_what_it_found_and_how_it_came_about(tables: ModuleType) -> None:
    block = tables.rivals(figure(iALS=row(), eSASRec=row(seconds=7200.0, searched=False, machine="cpu c")), str)
    assert (
        "| iALS | 0.700 | 0.400 | 0.250 | 0.500 | -0.0300 (-0.0400 to -0.0200, p < .001) | 42 s | 30 settings |"
        in block
    )
    assert "| 120 min | 30 settings, more to try |" in block
    assert "| fused recall | 0.700 | 0.400 | 0.250 | 0.500 |  |  |  |" in block
    assert "1,234 users." in block
    assert "on cpu a, cpu c." in block
    assert "Not fully tuned yet, and so perhaps weaker than they could be: eSASRec." in block
    assert "Not measured yet: popularity, popularity of the last days, weighted item-kNN" in block


def test_a_whole_table_says_nothing_of_what_is_missing(tables: ModuleType) -> None:
    block = tables.rivals(figure(**{name: row() for name in tables.EXPECTED}), str)
    assert "yet" not in block


def test_every_rival_is_expected_and_has_a_chinese_name(tables: ModuleType) -> None:
    names = [rival.name for rival in (*classical(), *transformers(Settings()))]
    assert {*names, FUSION} == set(tables.EXPECTED)
    assert {*names, FUSION} - {"popularity"} <= set(tables.CHINESE)  # popularity: with the evaluation's words
