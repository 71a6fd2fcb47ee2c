"""Ways to make lists diverse, beside each other on made-up data."""

from __future__ import annotations

import json
from typing import Any

import pytest

from data_exchange_center.settings import Settings
from offline.evaluation.report import plain
from research.experiments import diversity
from research.experiments.diversity import RANKED, SERVED, STRENGTHS, at_cost, chosen
from research.measure.list_diversity import NDCG
from tests.unit.offline.training.test_ranking import RECIPE


@pytest.fixture
def settings(made_up: Settings) -> Settings:
    return made_up


def test_every_way_is_measured_at_every_strength(settings: Settings) -> None:
    found = diversity.measure(settings, RECIPE)
    assert json.loads(json.dumps(plain(found), allow_nan=False))["ways"]
    ways = found["ways"]
    first = ways[RANKED]["0"]
    assert first["change"]["difference"] == 0
    assert list(ways[SERVED]) == [f"{strength:g}" for strength in STRENGTHS]
    assert found["chosen"] in (0, *STRENGTHS)
    for name, rows in ways.items():
        assert {frozenset(row) for row in rows.values()} == {frozenset(first)}
        changes = [row["change"]["difference"] for row in rows.values()]
        expected = [row[NDCG]["mean"] - first[NDCG]["mean"] for row in rows.values()]
        assert changes == pytest.approx(expected, abs=1e-9), name


def row(ndcg: float, coverage: float) -> dict[str, Any]:
    return {NDCG: {"mean": ndcg}, "coverage@50": coverage, "novelty": {"mean": 10 * coverage}, "change": {}}


def test_the_largest_strength_is_chosen_below_which_none_costs_too_much() -> None:
    first = row(0.5, 0.2)
    rows = {"0.1": row(0.499, 0.3), "0.2": row(0.4951, 0.4), "0.3": row(0.494, 0.5), "0.4": row(0.4999, 0.6)}
    assert chosen(rows, first) == 0.2
    assert chosen({"0.1": row(0.49, 0.3)}, first) == 0


def test_what_a_way_gives_for_the_cost_lies_between_its_strengths() -> None:
    rows = {"0": row(0.5, 0.2), "0.1": row(0.4975, 0.3), "0.2": row(0.4925, 0.5)}
    found = at_cost(rows)
    assert found is not None
    assert found == pytest.approx({"coverage@50": 0.4, "novelty": 4})
    assert at_cost({"0": row(0.5, 0.2), "1": row(0.499, 0.3)}) is None
