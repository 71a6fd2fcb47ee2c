"""The same data set through both engines."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from data_exchange_center import artifacts
from offline.engines.contract import Engine
from offline.engines.in_memory import PandasEngine
from offline.engines.spark.engine import SparkEngine
from offline.ingestion import sources

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


def refusal(what: Callable[[], object]) -> str:
    """The sentence of the error that it raises."""
    from data_exchange_center.steps import StepError

    try:
        what()
    except StepError as error:
        return str(error)
    raise AssertionError("nothing was refused")
