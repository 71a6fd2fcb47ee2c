"""Twins of steps that train, which run in the project's environment, with jobs in Spark's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data_exchange_center import artifacts
from data_exchange_center.settings import Settings
from offline.data.lists import Lists, ListsConfig, ranker_of_lists
from offline.data.sequences import Inputs
from offline.rank import s1_feature_engi as step
from offline.readers import read_inputs
from past_one_machine.spark import s1_feature_engi as twin
from past_one_machine.spark.pairs import read_counted_on_spark
from tests.cluster.needs_spark import needs_spark
from tests.past_one_machine.spark.worlds import REQUESTED, made_up, world

pytestmark = needs_spark


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    made = world()
    made.read(tmp_path)
    return made.split(tmp_path)


def test_pairs_are_counted_by_a_job_that_leaves_nothing_behind(settings: Settings) -> None:
    there = sorted(settings.exchange_dir.rglob("*"))
    found = read_counted_on_spark(settings).data.earlier(0.7).followers(3)
    assert found.nnz
    assert (found != read_inputs(settings).data.earlier(0.7).followers(3)).nnz == 0
    assert sorted(settings.exchange_dir.rglob("*")) == there


def test_lists_and_features_are_made_by_jobs(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """With training channels that are made up, and of a part of the requests."""

    def fit_training_channels(inputs: Inputs, recipe: object) -> object:
        return spec, made_up(inputs)

    spec = step.statistics.list_spec(read_inputs(settings), settings.recipe, ranker_of_lists(settings.recipe))
    monkeypatch.setattr(step, "fit_training_channels", fit_training_channels)
    monkeypatch.setattr(ListsConfig, "of", lambda recipe: replace(REQUESTED, most=40))
    twin.main(settings)
    files = (artifacts.USER_FEATURES, artifacts.ITEM_FEATURES)
    found, lists = (
        [file.read(settings.exchange_dir) for file in files],
        artifacts.LISTS.read_arrow(settings.exchange_dir),
    )
    step.main(settings)
    for file, table in zip(files, found, strict=True):
        pd.testing.assert_frame_equal(table, file.read(settings.exchange_dir))
    inputs = read_inputs(settings)
    past = inputs.data
    of_step, of_twin = (
        Lists.of_table(each, past.user_numbers) for each in (artifacts.LISTS.read_arrow(settings.exchange_dir), lists)
    )
    every = REQUESTED.recalled(past, inputs.profiles, made_up(inputs))
    assert len(of_step) < 0.7 * len(every)
    assert of_twin.times.tolist() == of_step.times.tolist()
    assert np.mean(of_twin.candidates == of_step.candidates) > 0.99
