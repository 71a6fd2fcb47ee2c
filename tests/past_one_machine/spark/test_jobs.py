"""The jobs that twins of training steps start: pairs of items, training lists, features, as they are in memory."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_exchange_center import artifacts
from data_exchange_center.files import parts_of
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from offline.data import statistics
from offline.data.lists import Lists as RecalledLists
from offline.data.lists import recall_lists
from offline.readers import read_inputs
from past_one_machine.spark import features, lists, pairs
from tests.past_one_machine.spark.worlds import PARTITIONS, REQUESTED, World, made_up, saved, world

SKEWED = partial(world, users=9, most=3_000, seed=2)


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize(("share", "window"), [(1.0, None), (0.7, 3)])
def test_pairs_are_those_that_one_process_counts(
    spark: Any, tmp_path: Path, share: float, window: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pairs, "PAIRS_IN_BATCH", 50)
    settings = world().split(tmp_path)
    past = read_inputs(settings).data
    pairs.count(spark, tmp_path, share, window, PARTITIONS, tmp_path / "counts")
    found = pairs.counts_of(pa.concat_tables(map(pq.read_table, parts_of(tmp_path / "counts"))), past.n_items + 1)
    expected = pairs.counted(past, share, window)
    assert expected.nnz > 50
    assert found.dtype == expected.dtype
    for name in ("indptr", "indices", "data"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


def test_sequences_have_spark_count_all_events_or_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others are counted where they are."""
    requested: list[tuple[float, int | None]] = []
    monkeypatch.setattr(
        pairs.CountedOnSpark, "_count", lambda self, window=None: requested.append((self.share, window))
    )
    past = pairs.read_counted_on_spark(world().split(tmp_path)).data
    past.liked_together()
    past.earlier(0.7).followers(3)
    assert requested == [(1.0, None), (0.7, 3)]
    for others in (past.before_last(1), past.earlier(0.7).earlier(0.5), past.earlier(0.7).last(2)):
        assert type(others) is not pairs.CountedOnSpark
        assert others.liked_together().shape == (past.n_items + 1,) * 2


@pytest.mark.parametrize("make", [world, SKEWED])
def test_features_are_those_of_the_step(spark: Any, tmp_path: Path, make: Any) -> None:
    settings = make().split(tmp_path)
    inputs = read_inputs(settings)
    features.write(spark, tmp_path, PARTITIONS, (), batch=37)
    for file, expected in (
        (artifacts.USER_FEATURES, statistics.user_statistics(inputs.data, inputs.users, ())),
        (artifacts.ITEM_FEATURES, statistics.item_statistics(inputs.data, inputs, ())),
    ):
        found = file.read(tmp_path)
        file.write(tmp_path / "expected", expected)
        pd.testing.assert_frame_equal(found, file.read(tmp_path / "expected"))
    assert artifacts.USER_FEATURES.at(tmp_path).is_dir()


@pytest.mark.parametrize(("make", "size"), [(world, 12), (partial(world, items=2_000, users=9, most=1_500), 300)])
def test_lists_are_those_of_users_recalled_one_by_one(spark: Any, tmp_path: Path, make: Any, size: int) -> None:
    """And hardly others than those of users recalled together."""
    settings, requested = make().split(tmp_path), replace(REQUESTED, size=size)
    lists.write(spark, saved(settings, tmp_path / "setup", requested), PARTITIONS)
    found, (together, apart) = (
        artifacts.LISTS.read(tmp_path),
        expected_lists(settings, tmp_path / "expected", requested),
    )
    pd.testing.assert_frame_equal(found, apart)
    assert len(found) > 50
    exact = [name for name in apart if name not in ("candidates", "features", "liked", "disliked")]
    pd.testing.assert_frame_equal(together[exact], apart[exact])
    candidates = (np.concatenate(table["candidates"].to_numpy()) for table in (together, apart))
    assert (next(candidates) == next(candidates)).mean() > 0.99


def expected_lists(settings: Settings, scratch: Path, requested: Any) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Lists of all users recalled together, and one by one."""
    inputs = read_inputs(settings)
    past, channels = inputs.data, made_up(inputs)
    requests = requested.requests(past)
    one_by_one = [
        recall_lists(past, requests.take(requests.users == user), inputs.profiles, channels, requested, only_liked=True)
        for user in np.unique(requests.users)
    ]
    tables = []
    for some in ([requested.recalled(past, inputs.profiles, channels)], one_by_one):
        artifacts.LISTS.write(scratch, pa.concat_tables(RecalledLists.table(each, past.user_numbers) for each in some))
        tables.append(artifacts.LISTS.read(scratch))
    return tables[0], tables[1]


def test_lists_in_which_nothing_was_liked_are_refused(spark: Any, tmp_path: Path) -> None:
    made = world()
    nothing = World(made.dataset, made.raw.assign(rating=np.int8(1)), made.users, made.items)
    asking = saved(nothing.split(tmp_path), tmp_path / "setup", REQUESTED)
    with pytest.raises(StepError, match="nothing to train the ranker on"):
        lists.write(spark, asking, PARTITIONS)
    assert not artifacts.LISTS.at(tmp_path).exists()
