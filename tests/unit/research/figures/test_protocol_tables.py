"""The blocks on the protocol are drawn from what their commands write."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from data_exchange_center.rankers.list_ranker import ListRankerRecipe
from research.experiments import ablations, fusion_rules, ranker_variants
from tests.unit.research.figures.reading import BASE, MEANS, cells, word


@pytest.fixture
def tables(pic: None) -> ModuleType:
    return importlib.import_module("research.figures.protocol_tables")


def test_shuffled_ties_stand_beside_the_recipe_as_it_is(tables: ModuleType) -> None:
    values = {"recall@200": 0.7, "recall@50": 0.4, "ndcg@50": 0.3}
    figure = {
        "command": "make evaluate-ties",
        "machine": {"cpu": "CPU", "cores": 2, "memory_gb": 8},
        "pairs of one second": 0.456,
        "table": {"ranked": values, "ranked, ties shuffled": {name: value / 2 for name, value in values.items()}},
        "ndcg@50, shuffled to as it is": {"ranked": {"difference": -0.15, "p_value": 0.0001}},
    }
    block = tables.ties(figure, word)
    row = ["fused recall and ranker", "0.700", "0.350", "0.400", "0.200", "0.300", "0.150", "-0.1500 (p < .001)"]
    assert cells(block)[-1] == row
    assert "46% of a user's neighbouring events are of one second." in block


def test_the_clock_has_every_row_at_every_time(
    tables: ModuleType, reports: dict[str, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (tables, importlib.import_module("research.figures.tables")):
        monkeypatch.setattr(module, "FIGURES", tmp_path)
    figure = reports["default"]
    rows = cells(tables.clock(figure, word))
    assert rows[0][2:] == ["asked in the sitting", "asked an hour later", "asked now"]
    assert len(rows) == 1 + 2 * 3
    found = figure["clock"]["all"]["ranked"]["now"]
    assert rows[2][4] == f"{found['recall@200']:.3f} / {found['recall@50']:.3f} / {found['ndcg@50']:.3f}"
    (tmp_path / "evaluation_global.json").write_text(json.dumps({"clock": {"all": figure["clock"]["all"]}}))
    assert [row[0] for row in cells(tables.clock(figure, word))[-2:]] == ["one moment for all"] * 2


def test_ablation_compares_with_the_recipe(tables: ModuleType) -> None:
    rows = [
        {
            "group": "fusion",
            "name": name,
            **MEANS,
            "against reference": {"ndcg@50": {"difference": -0.01, "p_value": p}},
        }
        for name, p in (("RRF 1:1", 1e-9), ("RRF 3:1", 0.02), ("all", 1.0))
    ]
    found = cells(tables.ablation({**BASE, "reference": "all", "rows": rows}, word))
    assert [row[-1] for row in found[1:]] == ["-0.0100 (p < .001)", "-0.0100 (p = 0.020)", ""]
    assert found[1][2:6] == ["0.7000", "0.4000", "0.3000", "0.5000"]


def test_seeds_and_both_splits(tables: ModuleType) -> None:
    spread = {metric: {"mean": value, "std": 0.01} for metric, value in MEANS.items()}
    rows = cells(tables.seeds({**BASE, "systems": {"ranked": spread}}, word))
    assert rows[1] == ["fused recall and ranker", *(f"{value:.4f} ± 0.0100" for value in MEANS.values())]
    later = {metric: value / 2 for metric, value in MEANS.items()}
    figure = {**BASE, "per user": {"ranked": MEANS}, "table": {"ranked": later}, "users": 410, "returning users": 409}
    block = tables.one_moment(figure, word)
    assert cells(block)[1][1:] == ["0.700", "0.500", "0.350", "0.400", "0.200", "0.300", "0.150"]
    assert len(cells(block)[0]) == len(cells(block)[1])
    assert "410 users, 409 of them back" in block


def test_every_block_is_translated(tables: ModuleType, reports: dict[str, dict[str, Any]]) -> None:
    asked: set[str] = set()

    def noting(text: str) -> str:
        asked.add(text)
        return text

    tables.clock(reports["default"], noting)
    tried = [
        *fusion_rules.rules(["tower", "ease"], 256),
        "ranker: all inputs",
        *(
            f"ranker: {name}"
            for name in (*ranker_variants.without(), *ranker_variants.samples(ListRankerRecipe(), 256))
        ),
    ]
    against = {"ndcg@50": {"difference": 0.0, "p_value": 1.0}}
    rows = [
        {"group": group, "name": name, **MEANS, "against reference": against}
        for group in ablations.GROUPS
        for name in tried
    ]
    tables.ablation({**BASE, "reference": "none", "rows": rows}, noting)
    both = {"per user": {"ranked": MEANS}, "table": {"ranked": MEANS}, "users": 2, "returning users": 1}
    tables.one_moment({**BASE, **both}, noting)
    chinese = importlib.import_module("research.figures.readme").CHINESE
    same = {"EASE", "item-kNN", "RRF 1:1", "RRF 2:1", "RRF 4:1"}
    assert asked - set(chinese) - same == set()
