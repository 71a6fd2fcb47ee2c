"""The stages on made-up data: nothing of the held-out part but its time reaches them; the report holds every part."""

from __future__ import annotations

import importlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data_exchange_center import artifacts
from data_exchange_center.artifacts import ArtifactError
from data_exchange_center.columns import Columns, Split
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from offline.evaluation import replay
from offline.evaluation.__main__ import evaluate, plain
from offline.evaluation.inputs import Inputs, read_inputs
from offline.evaluation.stages import StagesConfig, answer, fit_stages
from offline.torchfm.ranker import RankerShape
from offline.torchfm.ranker_train import RankerTraining
from offline.torchfm.tower_train import TowerTraining
from tests.unit.offline.synthetic import made_up_movielens
from tests.unit.offline.test_road import STEPS

LAST = 10
CONFIG = StagesConfig(
    tower=TowerTraining(dim=4, history=6, epochs=1, batch_size=64),
    ranker=RankerTraining(shape=RankerShape(history=5, kernels=2, hidden=(8,)), epochs=1, batch_size=32),
    candidates=20,
)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("evaluation")
    settings = Settings(data=made_up_movielens(folder / "ml"), exchange_dir=folder / "exchange")
    for step in STEPS:
        importlib.import_module(step).main(settings)
    return settings


def with_another_future(inputs: Inputs) -> Inputs:
    """The held-out ratings are of other films and all the other way round; their times stay."""
    data = inputs.data
    held_out = data.positions >= np.repeat(data.lengths - LAST, data.lengths)
    items = np.where(held_out, data.items % data.n_items + 1, data.items)
    ratings = np.where(held_out, 6 - data.ratings, data.ratings)
    return replace(inputs, data=replace(data, items=items, ratings=ratings, liked=ratings > 3))


def test_the_held_out_part_changes_no_list(settings: Settings) -> None:
    inputs = read_inputs(settings)
    answers = []
    for world in (inputs, with_another_future(inputs)):
        past = replay.held_out(world.data, LAST).past
        answers.append(answer(fit_stages(past, world, CONFIG), past, world, CONFIG))
    one, two = answers
    assert np.array_equal(one.ranked, two.ranked)
    assert np.array_equal(one.fused, two.fused)
    assert (one.ranked > 0).any(axis=1).all()
    seen = replay.held_out(inputs.data, LAST).past.seen()
    for user, codes in enumerate(one.ranked):
        assert not set(codes[codes > 0]) & set(seen[user].indices)
        assert sorted(codes) == sorted(one.fused[user])


def test_report_holds_every_system_and_no_nan(settings: Settings) -> None:
    found = plain(evaluate(settings, CONFIG))
    assert json.loads(json.dumps(found, allow_nan=False)) == json.loads(json.dumps(found))
    assert {"popularity", "item-kNN", "EASE", "source: ranked", "new: ranked"} <= set(found["table"])
    assert set(found["slices"]) == set(found["table"]) == set(found["systems"])
    assert found["funnel"]["kept by fusion"] == pytest.approx(found["funnel"]["ranked"]["top 50"])  # 20 candidates
    assert 0 < found["funnel"]["found by any"] <= 1


def test_plain_numbers() -> None:
    assert plain({"a": 0.123456, "b": {"c": float("nan")}, "d": 3, "e": 1e-20}) == {
        "a": 0.1235, "b": {"c": None}, "d": 3, "e": 1e-20,
    }  # fmt: skip


def test_without_artifacts_it_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError):
        read_inputs(Settings(exchange_dir=tmp_path))


def test_a_split_of_another_length_is_refused(settings: Settings, tmp_path: Path) -> None:
    artifacts.ITEMS.write(tmp_path, artifacts.ITEMS.read(settings.exchange_dir))
    ratings = artifacts.RATINGS.read(settings.exchange_dir)
    first_online = (ratings[Columns.SPLIT] == Split.ONLINE).idxmax()
    ratings.loc[first_online, Columns.SPLIT] = Split.TEST
    artifacts.RATINGS.write(tmp_path, ratings)
    with pytest.raises(StepError, match="s1_data_split"):
        read_inputs(Settings(exchange_dir=tmp_path))
