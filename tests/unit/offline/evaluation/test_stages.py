"""The stages on made-up data: nothing of the held-out part but its time reaches them."""

from __future__ import annotations

import importlib
from dataclasses import replace

import numpy as np
import pytest

from data_exchange_center.settings import Settings
from offline.evaluation import replay
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
