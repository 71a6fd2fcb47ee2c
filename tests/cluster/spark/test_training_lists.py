"""The ranker's requests and lists on Spark: what pandas makes; to the last digit where it scores users one by one."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_exchange_center import artifacts
from data_exchange_center.channels import Channel, HistorySum, StoredVectors
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from offline.data import lists as lists_of_points
from offline.data.lists import ListsAsked
from offline.data.sequences import Inputs
from offline.engines.in_memory import PandasBeside
from offline.engines.spark import lists
from offline.engines.spark.beside import SparkBeside
from offline.engines.spark.engine import SparkEngine
from offline.engines.spark.lists import Asking
from offline.engines.spark.pasts import Part
from offline.engines.spark.teaching import Teaching
from offline.readers import read_inputs
from tests.cluster.spark.both import kill_an_executor, stored
from tests.cluster.spark.worlds import NOW, WORLDS, written
from tests.made_up_data import half_stars
from tests.unit.offline.synthetic import made_up_movielens

ASKED = ListsAsked(seed=3, past=0.3, stride=2, later=0.3, weights=(2, 1), size=12, history=4, horizon=5)
DIM = 6


def made_up(inputs: Inputs, seed: int = 0) -> tuple[Channel, ...]:
    """One that reads history and profile, and one that has a vector for each user, but for some."""
    random, data = np.random.default_rng(seed), inputs.data
    rows, codes = data.n_items + 1, inputs.dataset.rating_codes

    def table(*shape: int) -> np.ndarray:
        return random.normal(size=shape).astype(np.float32)

    summed = HistorySum(
        name="summed",
        rows=table(1, rows, DIM),
        lag=table(1, 2, 20),
        rating_weight=table(1, 2, codes),
        base=table(2, DIM),
        profile=tuple(table(feature.cardinality, DIM) for feature in inputs.profile),
        items=table(rows, DIM),
        bias=table(rows),
        trained=np.arange(rows) > 0,
        hidden=(table(1, DIM, 9), table(9), table(9, DIM)),
    )
    users = table(data.n_users, DIM)
    users[::7] = np.nan
    return summed, StoredVectors("stored", users, table(rows, DIM), np.arange(rows) > 1)


def saved(left: Settings, asked: ListsAsked, folder: Path) -> tuple[Asking, Inputs, tuple[Channel, ...]]:
    inputs = read_inputs(left)
    teachers = made_up(inputs)
    folder.mkdir()
    Teaching(asked, inputs.profile, inputs.data.itemids, teachers).save(folder)
    return Asking(left.exchange_dir, folder, inputs.dataset.positive_level, rows=37, handed_on=10), inputs, teachers


def expect_equal(engine: SparkEngine, left: Settings, scratch: Path, asked: ListsAsked = ASKED) -> pd.DataFrame:
    """Assert that both make the same lists, or refuse in the same words. Those lists."""
    asking, inputs, teachers = saved(left, asked, scratch / "teaching")
    try:
        made = PandasBeside(scratch).training_lists(asked, teachers, inputs)
        together = artifacts.LISTS.read(scratch)
        apart = asked.recalled(inputs.data, inputs.profiles, teachers, by_user=True)
        artifacts.LISTS.write(scratch, apart.table(inputs.data.userids))
    except StepError:
        with pytest.raises(StepError, match="nothing to train the ranker on"):
            lists.write(engine.spark, asking)
        return pd.DataFrame(columns=list(artifacts.LISTS.columns))
    lists.write(engine.spark, asking)
    expected = artifacts.LISTS.read(scratch)
    pd.testing.assert_frame_equal(artifacts.LISTS.read(left.exchange_dir), expected)
    assert artifacts.LISTS.at(left.exchange_dir).is_dir()
    assert made.lists == len(expected)
    expect_alike(together, expected)
    return expected


def expect_alike(together: pd.DataFrame, apart: pd.DataFrame) -> None:
    """Users scored together or one by one: the same requests, and candidates but for a few that score alike."""
    exact = [name for name in apart if name not in ("candidates", "features", "liked", "disliked")]
    pd.testing.assert_frame_equal(together[exact], apart[exact])
    candidates = (np.concatenate(table["candidates"].to_numpy()) for table in (together, apart))
    assert (next(candidates) == next(candidates)).mean() > 0.99


@pytest.mark.parametrize(("make", "size"), [(made_up_movielens, 12), (half_stars, 300)])
def test_lists(engine: SparkEngine, tmp_path: Path, make, size: int) -> None:
    """In batches that end within users, in lists that are handed on a few at a time."""
    left = stored(make(tmp_path / "data"), tmp_path / "stored", users_in_a_part=25)
    found = expect_equal(engine, left, tmp_path, replace(ASKED, size=size))
    users = artifacts.USERS.read(left.exchange_dir)["userid"]
    assert len(found) > 100
    assert found["userid"].nunique() > 0.5 * len(users)


def test_a_step_that_spark_does_not_run_has_lists_made(tmp_path: Path) -> None:
    """By a process of its own, which leaves nothing else behind."""
    left = stored(made_up_movielens(tmp_path / "films"), tmp_path / "stored", users_in_a_part=25)
    there, inputs = set(left.exchange_dir.rglob("*")), read_inputs(left)
    teachers = made_up(inputs)
    made = SparkBeside(left).training_lists(ASKED, teachers, inputs)
    assert made == PandasBeside(tmp_path).training_lists(ASKED, teachers, inputs)
    assert {path.suffix for path in set(left.exchange_dir.rglob("*")) - there} == {".parquet"}


@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(world=WORLDS, users_in_a_part=st.integers(1, 8))
def test_small_worlds(engine: SparkEngine, world: dict, users_in_a_part: int) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        left = stored(written(world, Path(scratch) / "data"), Path(scratch) / "stored", users_in_a_part)
        expect_equal(engine, left, Path(scratch))


def test_a_skewed_user(engine: SparkEngine, tmp_path: Path) -> None:
    """Nearly all events are one user's, whose rows are many batches and whose requests are most of all."""
    random, data = np.random.default_rng(0), tmp_path / "data"
    data.mkdir()
    users = np.concatenate([np.full(5000, 7), np.repeat(np.arange(10, 110), 2)])
    items = random.integers(1, 2000, len(users))
    rows = zip(users, items, random.integers(0, 10**7, len(users)), random.integers(1, 6, len(users)), strict=True)
    (data / "log.csv").write_text("u,i,t,v\n" + "".join(f"{u},{i},{NOW + t},{v}\n" for u, i, t, v in rows))
    declared = ['name = "w"', "[interactions]", 'file = "log.csv"', 'user = "u"', 'item = "i"', 'time = "t"']
    (data / "dataset.toml").write_text("\n".join([*declared, 'value = "v"', "positive_above = 2"]))
    left = stored(data, tmp_path / "stored", users_in_a_part=40)
    found = expect_equal(engine, left, tmp_path, replace(ASKED, size=200, past=0.7))
    assert (found["userid"] == 7).sum() > 100


@dataclass(frozen=True)
class Failing(Asking):
    """Fails in the middle of a part, as often as it is told to."""

    marks: str = ""
    times: int = 0

    def lists(self, part: Part, users: int, requests: int, before: int) -> Iterator[pa.RecordBatch]:
        for number, batch in enumerate(super().lists(part, users, requests, before)):
            failed = len(list(Path(self.marks).iterdir()))
            if number and failed < self.times:
                (Path(self.marks) / f"{failed}").touch()
                raise RuntimeError("as the test wants it")
            yield batch


def test_a_failed_task_is_tried_again_and_its_lists_are_there_once(engine: SparkEngine, tmp_path: Path) -> None:
    left = stored(made_up_movielens(tmp_path / "films"), tmp_path / "stored", users_in_a_part=25)
    expected = expect_equal(engine, left, tmp_path)
    marks = tmp_path / "marks"
    marks.mkdir()
    asking, *_ = saved(left, ASKED, tmp_path / "again")
    failing = Failing(**vars(asking), marks=str(marks), times=10**6)
    with pytest.raises(Exception, match="as the test wants it"):
        lists.write(engine.spark, failing)
    pd.testing.assert_frame_equal(artifacts.LISTS.read(left.exchange_dir), expected)  # what was there
    artifacts.LISTS.write(left.exchange_dir, expected[:1])
    lists.write(engine.spark, replace(failing, times=len(list(marks.iterdir())) + 2))
    pd.testing.assert_frame_equal(artifacts.LISTS.read(left.exchange_dir), expected)


def test_an_executor_that_is_killed_leaves_each_list_once(tmp_path: Path) -> None:
    """When its task has handed on some of them: another one makes them again, and they are those that `expect_equal`
    has found in an undisturbed run."""
    left = stored(made_up_movielens(tmp_path / "films"), tmp_path / "stored", users_in_a_part=25)
    _, inputs, teachers = saved(left, ASKED, tmp_path / "teaching")
    undisturbed = ASKED.recalled(inputs.data, inputs.profiles, teachers, by_user=True)
    artifacts.LISTS.write(tmp_path, undisturbed.table(inputs.data.userids))
    kill_an_executor(left.exchange_dir, tmp_path / "marks", tmp_path / "teaching")
    found = artifacts.LISTS.read(left.exchange_dir)
    pd.testing.assert_frame_equal(found, artifacts.LISTS.read(tmp_path))
    assert not found.duplicated(["userid", "lengths"]).any()
    assert found["userid"].nunique() > 30


@pytest.mark.parametrize("most", [1, 60, 10**6])
def test_how_many_events_are_looked_at_at_once_changes_nothing(
    tmp_path: Path, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = stored(made_up_movielens(tmp_path / "films"), tmp_path / "stored", users_in_a_part=25)
    inputs = read_inputs(left)
    expected = ASKED.recalled(inputs.data, inputs.profiles, made_up(inputs))
    monkeypatch.setattr(lists_of_points, "SEEN", most)
    found = ASKED.recalled(inputs.data, inputs.profiles, made_up(inputs))
    assert (found.candidates == expected.candidates).mean() > 0.99
    assert found.times.tolist() == expected.times.tolist()
