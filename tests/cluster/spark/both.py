"""The same data set through both engines."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
from offline.engines.contract import Engine
from offline.engines.spark.engine import SparkEngine

from data_exchange_center import artifacts, provenance
from data_exchange_center.artifact_kinds import Artifact, Table
from data_exchange_center.columns import Columns
from data_exchange_center.settings import Settings
from offline import engines
from offline.engines.in_memory import PandasEngine
from offline.ingestion import sources

ROOT = Path(__file__).parents[3]
TABLES = (artifacts.RATINGS, artifacts.USERS, artifacts.ITEMS)
NOTHING_TOLD = pd.DataFrame()


def through(engine: Engine, data: Path, exchange: Path, share: float = 0.8) -> tuple[Any, ...]:
    """What a step sees and what it leaves."""
    with sources.opened(data) as source:
        found = engine.ingest(source)
        tables = found.join(NOTHING_TOLD).split(found.dataset, share)
        counted = tables.counted()
        tables.write(exchange)
    return found.dataset, found.span, counted, *(table.read(exchange) for table in TABLES)


def expect_equal(spark: SparkEngine, data: Path, scratch: Path) -> pd.DataFrame:
    """Assert that both engines find the same, row for row. The ratings."""
    here, there = (through(each, data, scratch / name) for each, name in ((PandasEngine(), "a"), (spark, "b")))
    assert there[:3] == here[:3]
    for mine, other in zip(here[3:], there[3:], strict=True):
        pd.testing.assert_frame_equal(other, mine)
    shutil.rmtree(scratch)
    ratings: pd.DataFrame = here[3]
    return ratings


def stored(data: Path, exchange: Path, users_in_a_part: int) -> Settings:
    """Settings of a folder that is prepared and split, its ratings and users in parts as Spark writes them."""
    dataset, *_ = through(PandasEngine(), data, exchange)
    artifacts.DATASET.write(exchange, dataset.model_dump(mode="json"))
    for table in (artifacts.RATINGS, artifacts.USERS):
        rows = table.read(exchange)
        number = np.unique(rows[Columns.USER], return_inverse=True)[1] // users_in_a_part
        with table.in_parts(exchange) as folder:
            for part, some in rows.groupby(number):
                table.write(exchange / "scratch", some)
                table.at(exchange / "scratch").rename(folder / f"part-{part:05d}.parquet")
    return Settings(exchange_dir=exchange)


def copied(settings: Settings, exchange: Path) -> Settings:
    """Settings of a copy of the folder."""
    return Settings(exchange_dir=Path(shutil.copytree(settings.exchange_dir, exchange)))


def run(engine: Engine, steps: Sequence[ModuleType], settings: Settings) -> None:
    """The steps, each with this engine."""
    with mock.patch.object(engines, "chosen", return_value=nullcontext(engine)):
        for step in steps:
            step.main(settings)


def kill_an_executor(exchange: Path, marks: Path, *more: Path) -> None:
    """Run `waiting`, and kill the executor that waits in the middle of its task: the job ends well all the same."""
    marks.mkdir()
    job = [sys.executable, "-m", "tests.cluster.spark.waiting", *map(str, (exchange, marks, *more))]
    with subprocess.Popen(job, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
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


def expect_same_files(settings: Settings, other: Settings, files: Sequence[Artifact]) -> None:
    """Row for row, the types of the columns too."""
    for file in files:
        here, there = (file.read(each.exchange_dir) for each in (settings, other))
        if isinstance(file, Table):
            pd.testing.assert_frame_equal(there, here)
        else:
            np.testing.assert_equal(_without_inputs(there), _without_inputs(here))  # what is said of nobody is NaN


def _without_inputs(report: Any) -> Any:
    """A file in parts has another digest."""
    return {name: value for name, value in report.items() if name != provenance.INPUTS}


def refusal(what: Callable[[], object]) -> str:
    """The sentence of the error that it raises."""
    from data_exchange_center.steps import StepError

    try:
        what()
    except StepError as error:
        return str(error)
    raise AssertionError("nothing was refused")
