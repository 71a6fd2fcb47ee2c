"""A task that fails is tried again, and what it had written is not there twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from data_exchange_center import artifacts
from offline.step_runner import ROOT
from past_one_machine.spark import lists, users
from tests.past_one_machine.spark.teachers import ASKED, saved
from tests.past_one_machine.spark.worlds import world

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


def test_a_failed_task_is_tried_again_and_its_rows_are_there_once(spark: Any, tmp_path: Path) -> None:
    assert written(spark, tmp_path, times=2) == [1, 2, 3, 4]
    assert len(list((tmp_path / "marks").iterdir())) == 2


def test_what_fails_for_good_leaves_what_was_there(spark: Any, tmp_path: Path) -> None:
    before = pd.DataFrame({"itemid": [9], "score": [1.0]})
    artifacts.POPULAR.write(tmp_path, before)
    with pytest.raises(Exception, match="as the test wants it"):
        written(spark, tmp_path, times=10**6)
    assert artifacts.POPULAR.read(tmp_path)["itemid"].tolist() == [9]
    assert [path.name for path in artifacts.POPULAR.at(tmp_path).parent.iterdir()] == ["popular.parquet"]


def test_an_executor_that_is_killed_leaves_each_list_once(spark: Any, tmp_path: Path) -> None:
    """When its task has handed on some of them: another one makes them again."""
    settings = world(users=30).split(tmp_path)
    lists.write(spark, saved(settings, tmp_path / "teaching", ASKED), 2)
    undisturbed = artifacts.LISTS.read(tmp_path)
    marks = tmp_path / "marks"
    marks.mkdir()
    job = [sys.executable, "-m", "tests.past_one_machine.spark.waiting", *map(str, (tmp_path, tmp_path / "teaching"))]
    with subprocess.Popen([*job, str(marks)], cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        while not (marks / "executor").exists():
            assert process.poll() is None, process.stderr and process.stderr.read()
            time.sleep(0.1)
        executor = int((marks / "executor").read_text())
        assert executor != process.pid
        os.kill(executor, signal.SIGKILL)
        (marks / "killed").touch()
        _, said = process.communicate(timeout=600)
    assert process.returncode == 0, said
    assert "Lost executor" in said, said
    pd.testing.assert_frame_equal(artifacts.LISTS.read(tmp_path), undisturbed)
