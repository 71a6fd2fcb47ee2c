"""The evaluation's blocks are drawn from what its commands write."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from data_exchange_center.rankers.list_ranker import ListRankerRecipe
from offline.evaluation import served
from offline.evaluation.evaluate import evaluate
from offline.experiments import ablations, fusion_rules, ranker_variants
from tests.synthetic_release import write_artifacts
from tests.unit.offline.evaluation.conftest import holdout_of, settings_of

ROOT = Path(__file__).parents[3]


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "pic")
    return importlib.import_module("evaluation_tables")


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Recipe -> the report of a server that answers like exact search."""
    folder = tmp_path_factory.mktemp("tables")
    found = {}
    for recipe in ("source", "default"):
        write_artifacts(folder / recipe, recipe=recipe, users=24)
        settings = settings_of(recipe, folder)
        exact = served.answers(settings, holdout_of(settings))
        found[recipe] = evaluate(
            settings, "make evaluate", ask=lambda _, e=exact: e, source=settings_of("source", folder)
        )
    return found


def word(text: str) -> str:
    return text


def cells(block: str) -> list[list[str]]:
    """Rows of a Markdown table, the head first, the line below it left out."""
    lines = [line for line in block.split("\n") if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in (lines[0], *lines[2:])]


def test_systems_have_intervals(tables: ModuleType, reports: dict[str, dict[str, Any]]) -> None:
    figure = reports["default"]
    rows = cells(tables.evaluation(figure, word))
    assert len(rows) == 1 + len(figure["systems"])
    ranked = figure["systems"]["default: ranked"]["recall@200"]
    assert rows[-1][:2] == [
        "fused recall and ranker", f"{ranked['mean']:.3f} ({ranked['low']:.3f}–{ranked['high']:.3f})",
    ]  # fmt: skip


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


def test_the_headline_shows_those_who_come_back_beside_everybody(
    tables: ModuleType, reports: dict[str, dict[str, Any]]
) -> None:
    figure = reports["default"]
    block = tables.headline(figure, word)
    rows = cells(block)
    assert [row[0] for row in rows[1:]] == list(tables.HEADLINE.values())
    everybody, returning = figure["systems"]["default: ranked"], figure["slices"]["default: ranked"]["returning"]
    assert rows[-1][1] == f"{everybody['recall@200']['mean']:.3f}"
    assert returning["recall@200"]["mean"] is None or f"{returning['recall@200']['mean']:.3f}" in rows[-1][3]
    assert f"of {figure['users']} users are asked for within a running session" in block


def test_the_clock_has_every_row_at_every_time(
    tables: ModuleType, reports: dict[str, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (tables, importlib.import_module("tables")):
        monkeypatch.setattr(module, "FIGURES", tmp_path)
    figure = reports["default"]
    rows = cells(tables.clock(figure, word))
    assert rows[0][2:] == ["asked in the sitting", "asked an hour later", "asked now"]
    assert len(rows) == 1 + 2 * 3
    found = figure["clock"]["all"]["ranked"]["now"]
    assert rows[2][4] == f"{found['recall@200']:.3f} / {found['recall@50']:.3f} / {found['ndcg@50']:.3f}"
    (tmp_path / "evaluation_global.json").write_text(json.dumps({"clock": {"all": figure["clock"]["all"]}}))
    assert [row[0] for row in cells(tables.clock(figure, word))[-2:]] == ["one moment for all"] * 2


def test_funnel_has_every_stage_at_every_cut(tables: ModuleType, reports: dict[str, dict[str, Any]]) -> None:
    block = tables.funnel(reports["default"], word)
    rows = cells(block)
    assert [row[0] for row in rows[1:]] == [
        "found by tower", "... and by no other", "found by ease", "... and by no other", "found by any channel",
        "fused", "ranked",
    ]  # fmt: skip
    assert rows[-1][1] == f"{reports['default']['funnel']['200']['ranked']:.3f}"
    assert "Among all candidates of the ranker (256)" in block


def test_slices_name_their_users(tables: ModuleType, reports: dict[str, dict[str, Any]]) -> None:
    rows = cells(tables.slices(reports["default"], word))
    assert len(rows) == 1 + len(tables.SLICES)
    assert len(cells(tables.slices(reports["source"], word))[0]) == len(rows[0]) - 1  # no default beside it


def test_exact_search_and_the_server_stand_side_by_side(tables: ModuleType, reports: dict[str, dict[str, Any]]) -> None:
    rows = cells(tables.exact(reports["default"], word))
    assert {row[1] for row in rows[1:]} == {"100.00%"}
    assert {cell for row in rows[1:] for cell in row[3:]} == {"+0.00000"}


def test_both_recipes(
    tables: ModuleType, reports: dict[str, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (tables, importlib.import_module("tables")):
        monkeypatch.setattr(module, "FIGURES", tmp_path)
    (tmp_path / "evaluation_source.json").write_text(json.dumps(reports["source"]))
    rows = cells(tables.recipes(reports["default"], word))
    assert rows[0][1:] == ["source", "default"]
    assert rows[1][1] == f"{reports['source']['systems']['source: ranked']['recall@200']['mean']:.3f}"
    levels = {name: {"levels": [{"concurrency": 1, "p50_ms": ms}]} for name, ms in (("source", 9.5), ("default", 8))}
    (tmp_path / "serving_recipes.json").write_text(json.dumps({**BASE, "recipes": levels}))
    block = tables.recipes(reports["default"], word)
    assert cells(block)[-1] == ["p50 ms, 1 in flight", "9.5", "8"]
    assert "Latency: Measured by `make it`" in block
    rows = cells(tables.labelled(reports["default"], word))
    assert [row[0] for row in rows[1:]] == [
        f"{recipe}: liked against {others}" for recipe in reports for others in ("rated", "all candidates")
    ]
    assert rows[1][3] == f"{reports['source']['labelled']['liked against rated']['gauc']:.3f}"


BASE = {"machine": {"cpu": "a cpu", "cores": 2, "memory_gb": 8}, "command": "make it", "dataset": "ml-1m"}
MEANS = {"recall@200": 0.7, "recall@50": 0.4, "ndcg@50": 0.3, "returning: recall@200": 0.5}


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

    for draw in (tables.headline, tables.evaluation, tables.funnel, tables.slices, tables.exact):
        draw(reports["default"], noting)
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
    chinese = importlib.import_module("readme").CHINESE
    same = {"EASE", "item-kNN", "RRF 1:1", "RRF 2:1", "RRF 3:1"}
    assert asked - set(chinese) - same == set()
