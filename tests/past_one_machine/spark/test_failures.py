"""A task that fails is tried again, and what it had written is not there twice."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pandas as pd
import pyarrow as pa
import pytest
from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

from data_exchange_center import artifacts
from past_one_machine.spark import users
from past_one_machine.spark.environment import ATTEMPTS

SCORES = {"itemid": pa.int32(), "score": pa.float32()}


def written(spark: Any, folder: Path, times: int) -> list[int]:
    """Items that two tasks write, which fail after their first rows as often as is said."""
    marks = folder / "marks"
    marks.mkdir(exist_ok=True)

    def made(part: users.Users) -> Iterator[pd.DataFrame]:
        yield pd.DataFrame({"itemid": [part.first], "score": [0.5]})
        failed = len(list(marks.iterdir()))
        if failed < times:
            (marks / f"{failed}").touch()
            raise RuntimeError("as the test wants it")
        yield pd.DataFrame({"itemid": [part.last], "score": [0.25]})

    parts = [users.Users(1, 2, 0, 2), users.Users(3, 4, 2, 2)]
    users.write(artifacts.POPULAR, folder, users.run(spark, parts, made, SCORES))
    return artifacts.POPULAR.read(folder)["itemid"].tolist()


def test_a_retried_task_writes_its_rows_once(spark: Any, tmp_path: Path) -> None:
    assert written(spark, tmp_path, times=2) == [1, 2, 3, 4]
    assert len(list((tmp_path / "marks").iterdir())) == 2


def test_a_final_failure_leaves_earlier_output(spark: Any, tmp_path: Path) -> None:
    before = pd.DataFrame({"itemid": [9], "score": [1.0]})
    artifacts.POPULAR.write(tmp_path, before)
    with pytest.raises(Exception, match="as the test wants it"):
        written(spark, tmp_path, times=10**6)
    assert artifacts.POPULAR.read(tmp_path)["itemid"].tolist() == [9]
    assert [path.name for path in artifacts.POPULAR.at(tmp_path).parent.iterdir()] == [
        "popular.parquet"
    ]


def test_a_task_that_outlives_its_job_writes_nothing_later(
    spark: Any, tmp_path: Path
) -> None:
    """When the job has failed, the second task goes on until the folder is gone, or for a second."""
    folder, marks = artifacts.POPULAR.at(tmp_path).parent, tmp_path / "marks"
    marks.mkdir()

    def until(condition: Callable[[], bool], seconds: float) -> None:
        again = retry_if_result(lambda there: not there)
        Retrying(
            stop=stop_after_delay(seconds),
            wait=wait_fixed(0.01),
            retry=again,
            retry_error_callback=lambda _: None,
        )(condition)

    def made(part: users.Users) -> Iterator[pd.DataFrame]:
        if part.first == 1:
            (marks / uuid4().hex).touch()
            raise RuntimeError("as the test wants it")
        until(lambda: len(list(marks.iterdir())) == ATTEMPTS, 60)
        until(lambda: not list(folder.glob(".popular.parquet*")), 1)
        yield pd.DataFrame({"itemid": [part.last], "score": [0.25]})

    parts = [users.Users(1, 2, 0, 2), users.Users(3, 4, 2, 2)]
    with pytest.raises(Exception, match="as the test wants it"):
        users.write(artifacts.POPULAR, tmp_path, users.run(spark, parts, made, SCORES))
    until(lambda: bool(list(folder.iterdir())), 1)
    assert not list(folder.iterdir())
