"""Rankers whose training requests are asked later."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data_exchange_center import artifacts
from data_exchange_center.dataset import HoldoutRule
from data_exchange_center.recipes import SOURCE
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from offline.evaluation.report import plain
from offline.experiments import fitted, later_requests
from offline.experiments.later_requests import RECALL
from tests.unit.offline.training.test_ranking import ITEMS, RECIPE, USERS, inputs_of


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    inputs = inputs_of(np.random.default_rng(0).integers(0, ITEMS, USERS - 1))
    inputs = replace(inputs, dataset=inputs.dataset.model_copy(update={"holdout": HoldoutRule(last=3)}))
    artifacts.DATASET.write(tmp_path, {"name": "made up"})
    monkeypatch.setattr(fitted, "read_with_holdout", lambda _: inputs)
    monkeypatch.setattr(later_requests, "COMPARED", "ndcg@10")  # lists of fifteen have no metric at 50
    return Settings(exchange_dir=tmp_path)


def test_every_share_stands_beside_recalls_order(settings: Settings) -> None:
    found = later_requests.measure(settings, RECIPE, shares=(0.0, 1.0))
    assert json.loads(json.dumps(plain(found), allow_nan=False))["rows"]
    assert [row["name"] for row in found["rows"]] == [RECALL, "0", "1"]
    same, other = (row["ndcg@10, to the first share"]["all"] for row in found["rows"][1:])
    assert {when: each["difference"] for when, each in same.items()} == {
        "in the sitting": 0, "an hour later": 0, "now": 0,
    }  # fmt: skip
    assert any(each["difference"] for each in other.values())


def test_a_recipe_without_a_list_ranker_has_nothing_to_try(settings: Settings) -> None:
    with pytest.raises(StepError, match="'deepfm'"):
        later_requests.measure(settings, SOURCE)
