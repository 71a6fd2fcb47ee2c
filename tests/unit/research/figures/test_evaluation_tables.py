"""The evaluation's blocks are drawn from what its commands write."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.unit.research.figures.reading import BASE, cells, word


@pytest.fixture
def tables(pic: None) -> ModuleType:
    return importlib.import_module("research.figures.evaluation_tables")


def test_systems_have_intervals(tables: ModuleType, reports: dict[str, dict[str, Any]]) -> None:
    figure = reports["default"]
    rows = cells(tables.evaluation(figure, word))
    assert len(rows) == 1 + len(figure["systems"])
    ranked = figure["systems"]["default: ranked"]["recall@200"]
    assert rows[-1][:2] == [
        "fused recall and ranker", f"{ranked['mean']:.3f} ({ranked['low']:.3f}–{ranked['high']:.3f})",
    ]  # fmt: skip


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
    monkeypatch.setattr(importlib.import_module("research.figures.tables"), "FIGURES", tmp_path)
    (tmp_path / "evaluation_source.json").write_text(json.dumps(reports["source"]))
    rows = cells(tables.recipes(reports["default"], word))
    assert rows[0][1:] == ["source", "default"]
    assert rows[1][1] == f"{reports['source']['systems']['source: ranked']['recall@200']['mean']:.3f}"
    rows = cells(tables.labelled(reports["default"], word))
    assert [row[0] for row in rows[1:]] == [
        f"{recipe}: liked against {others}" for recipe in reports for others in ("rated", "all candidates")
    ]
    assert rows[1][3] == f"{reports['source']['labelled']['liked against rated']['gauc']:.3f}"


def test_how_fast_both_recipes_are(tables: ModuleType) -> None:
    levels = {name: {"levels": [{"concurrency": 1, "p50_ms": ms}]} for name, ms in (("source", 9.5), ("default", 8))}
    block = tables.recipes_speed({**BASE, "recipes": levels}, word)
    assert cells(block)[1:] == [["p50 ms, 1 in flight", "9.5", "8"]]
    assert "Measured by `make it`" in block


def test_every_block_is_translated(tables: ModuleType, reports: dict[str, dict[str, Any]]) -> None:
    asked: set[str] = set()

    def noting(text: str) -> str:
        asked.add(text)
        return text

    for draw in (tables.headline, tables.evaluation, tables.funnel, tables.slices, tables.exact):
        draw(reports["default"], noting)
    assert asked - set(importlib.import_module("research.figures.readme").CHINESE) - {"EASE", "item-kNN"} == set()
