"""A task that fails is tried again, and what it had written is not there twice."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from offline.engines.spark import split
from offline.engines.spark.engine import SparkEngine, write_parts

from data_exchange_center import artifacts
from offline.data import term_recall
from offline.engines.in_memory import PandasEngine
from offline.ingestion import sources
from offline.ingestion.levels import Scale
from tests.cluster.spark.both import copied, expect_same_files, kill_an_executor, stored, through
from tests.unit.offline.synthetic import made_up_movielens


@dataclass(frozen=True, eq=False)
class Failing(Scale):
    """Fails in the middle of a partition, as often as it is told to."""

    folder: str = ""
    times: int = 0

    def codes(self, values: np.ndarray) -> np.ndarray:
        failed = len(list(Path(self.folder).iterdir()))
        if len(values) < 100 and failed < self.times:  # the last batch of a partition, after others were written
            (Path(self.folder) / f"{failed}").touch()
            raise RuntimeError("as the test wants it")
        return super().codes(values)


def ratings_with(engine: SparkEngine, data: Path, folder: Path, times: int):
    with sources.opened(data) as source:
        found = engine.ingest(source)
    marks = folder / "marks"
    marks.mkdir(parents=True)
    fields = {name: getattr(found.scale, name) for name in ("values", "positive", "binned", "edges", "found")}
    scale = Failing(**fields, folder=str(marks), times=times)
    return split.label_and_split(found.numbered, found.dataset, scale, 0.8, partitions=3), marks


def test_a_failed_task_is_tried_again_and_its_rows_are_there_once(engine: SparkEngine, tmp_path: Path) -> None:
    data = made_up_movielens(tmp_path / "films")
    ratings, marks = ratings_with(engine, data, tmp_path / "spark", times=2)
    write_parts(artifacts.RATINGS, tmp_path / "spark", ratings)
    assert len(list(marks.iterdir())) >= 2
    pd.testing.assert_frame_equal(
        artifacts.RATINGS.read(tmp_path / "spark"), through(PandasEngine(), data, tmp_path / "pandas")[3]
    )
    assert len(list(artifacts.RATINGS.at(tmp_path / "spark").iterdir())) == 3


def test_what_fails_for_good_leaves_what_was_there(engine: SparkEngine, tmp_path: Path) -> None:
    data = made_up_movielens(tmp_path / "films")
    before = through(PandasEngine(), data, tmp_path / "out")[3]
    ratings, _ = ratings_with(engine, data, tmp_path / "failing", times=10**6)
    with pytest.raises(Exception, match="as the test wants it"):
        write_parts(artifacts.RATINGS, tmp_path / "out", ratings)
    pd.testing.assert_frame_equal(artifacts.RATINGS.read(tmp_path / "out"), before)
    assert not [path for path in artifacts.RATINGS.at(tmp_path / "out").parent.iterdir() if path.name.startswith(".")]


def test_an_executor_that_is_killed_changes_nothing(tmp_path: Path) -> None:
    """In the middle of its task: another one does it."""
    data = made_up_movielens(tmp_path / "films")
    here = stored(data, tmp_path / "pandas", users_in_a_part=25)
    there = copied(here, tmp_path / "spark")
    PandasEngine().of_users(
        here.exchange_dir, artifacts.RATINGS, term_recall.seen_items, artifacts.USER_SEEN, everybody=artifacts.USERS
    )
    kill_an_executor(there.exchange_dir, tmp_path / "marks")
    expect_same_files(here, there, [artifacts.USER_SEEN])


def test_what_servers_were_told_is_refused(engine: SparkEngine, tmp_path: Path) -> None:
    from data_exchange_center.steps import StepError

    with sources.opened(made_up_movielens(tmp_path / "films")) as source:
        found = engine.ingest(source)
    with pytest.raises(StepError, match="RECSYS_ENGINE=pandas alone"):
        found.join(pd.DataFrame({"eventid": ["a"]}))
    assert replace(found, partitions=1).join(pd.DataFrame()).told.changed is False
