"""Rankers whose training requests are asked later."""

from __future__ import annotations

import json

import pytest

from data_exchange_center.recipes import SOURCE
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from offline.evaluation.report import plain
from research.experiments import later_requests
from research.experiments.later_requests import RECALL
from tests.unit.offline.training.test_ranking import RECIPE


@pytest.fixture
def settings(made_up: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setattr(later_requests, "COMPARED", "ndcg@10")  # lists of fifteen have no metric at 50
    return made_up


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
