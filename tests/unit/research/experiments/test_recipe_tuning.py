"""Every number of a recipe against other values, on people who walk round the items."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from data_exchange_center.dataset import HoldoutRule
from data_exchange_center.figures import write_figure
from data_exchange_center.recipes import DEFAULT, Recipe
from data_exchange_center.settings import Settings
from offline.evaluation import replay
from offline.evaluation.evaluate import figure
from research.experiments import fitted, recipe_tuning
from research.experiments.recipe_tuning import AROUND, AS_IT_IS, NOT_TRIED, Change, Trial, changes, measure, parts
from tests.unit.offline.models.test_stages import RECIPE

NDCG = "ndcg@10"  # lists of fifteen have none at 50
FEW = {
    "data": {"history": (2,)},
    "recall": {"candidates": (10,)},
    "ease": {"power": (0.0,), "fusion_weight": (5.0,)},
    "list": {"kernels": (1,)},
}


@pytest.fixture
def settings(made_up: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setattr(recipe_tuning, "COMPARED", NDCG)
    monkeypatch.setattr(recipe_tuning, "AROUND", FEW)
    return made_up


def test_every_number_of_the_default_recipe_is_tried_or_it_is_said_why_not() -> None:
    for _, kind, settings in parts(DEFAULT):
        assert set(AROUND[kind]) | (set(NOT_TRIED) & set(type(settings).model_fields)) == set(
            type(settings).model_fields
        ), kind
    tried = {(change.part, change.setting) for change in changes(DEFAULT)}
    assert {(part, setting) for part, kind, _ in parts(DEFAULT) for setting in AROUND[kind]} == tried


def keep(found: dict[str, Any], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_figure(path, found, fitted.CODE, finished=False)


def test_rows_are_kept_and_not_measured_again(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for found in islice(measure(settings, RECIPE), 5):  # ended after two stages and two rows
        path = figure(found, settings, "tune_recipe")
        keep(found, path)
    before = json.loads(path.read_text(encoding="utf-8"))
    assert set(before[AS_IT_IS]) == {"recall", "ranked"}
    assert list(before["rows"]) == ["data: history = 2", "recall: candidates = 10"]
    asked: list[Recipe] = []
    for stage in ("recalled", "ranked"):
        of_trial = getattr(Trial, stage)

        def counted(self: Trial, recipe: Recipe, of_trial: Any = of_trial) -> Any:
            asked.append(recipe)
            return of_trial(self, recipe)

        monkeypatch.setattr(Trial, stage, counted)
    *_, last = measure(settings, RECIPE)
    assert len(asked) == 3
    assert list(last["rows"]) == [str(change) for change in changes(RECIPE)]
    for row in last["rows"].values():
        assert {"part", "setting", "value", "seconds", "to the recipe"} <= set(row)
        assert row["to the recipe"]["users"] > 0
    keep(last, path)
    last["rows"]["ranker: epochs = 99"] = last["rows"]["ease: power = 0.0"]  # another recipe's neighbour
    keep(last, path)
    other = Change("ranker", "epochs", 1).made_to(RECIPE)
    assert not any("ranker" in name or "candidates" in name for name in next(measure(settings, other))["rows"])
    *_, again = measure(settings, other)
    assert len(asked) == 3 + 3  # the recipe as it is, and what is judged by the ranked lists
    assert list(again["rows"]) == list(last["rows"])[:-1]
    assert again["rows"]["ease: power = 0.0"] == last["rows"]["ease: power = 0.0"]
    keep(again, path)
    assert not next(measure(settings, Change("ease", "l2", 7.0).made_to(RECIPE)))["rows"]


def test_the_last_ten_are_not_read(settings: Settings) -> None:
    requests = fitted.before_the_last(settings)
    whole = fitted.read_with_holdout(settings).data
    assert requests.data.lengths.tolist() == [max(0, n - 6) for n in whole.lengths]
    expected = replay.hold_out(whole.before_last(3), HoldoutRule(last=3))
    assert (requests.holdout.relevance != expected.relevance).nnz == 0
