"""Jobs on two executors, the first task of which waits for its executor to be killed: what tests of failures start.

Run:    python -m tests.cluster.spark.waiting <exchange folder> <folder of marks> [<folder of a Teaching>]
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd
import pyarrow as pa
from offline.engines.spark import lists
from offline.engines.spark.engine import started
from offline.engines.spark.lists import Asking
from offline.engines.spark.pasts import Part

from data_exchange_center import artifacts
from data_exchange_center.release_parts import read_dataset
from data_exchange_center.settings import Settings, SparkSettings
from offline.data import term_recall, terms

PATIENCE_S = 300


def wait_to_be_killed(marks: Path) -> None:
    """The first that comes here writes the process id of its executor, and waits for it to be gone; others pass."""
    try:
        (marks / "first").touch(exist_ok=False)
    except FileExistsError:
        return
    (marks / "writing").write_text(str(executor()))
    (marks / "writing").rename(marks / "executor")
    until = time.monotonic() + PATIENCE_S
    while not (marks / "killed").exists() and time.monotonic() < until:
        time.sleep(0.1)
    raise AssertionError("this executor is gone: nobody reads what the task says")


def seen_items(ratings: pd.DataFrame, marks: Path) -> pd.DataFrame:
    """`term_recall.seen_items`."""
    if len(ratings):  # else: the driver asks for the columns
        wait_to_be_killed(marks)
    return term_recall.seen_items(ratings)


@dataclass(frozen=True)
class Waiting(Asking):
    """When some of a part's lists have been handed on."""

    marks: Path = Path()

    def lists(self, part: Part, users: int, requests: int, before: int) -> Iterator[pa.RecordBatch]:
        for number, batch in enumerate(super().lists(part, users, requests, before)):
            if number == 2:
                wait_to_be_killed(self.marks)
            yield batch


def executor() -> int:
    """The parent of the daemon that this worker is a child of."""
    status = Path(f"/proc/{os.getppid()}/status").read_text()
    return int(status.split("PPid:")[1].split()[0])


def main(exchange: Path, marks: Path, teaching: Path | None = None) -> None:
    spark = SparkSettings(master="local-cluster[2,1,1024]", partitions=2)
    with started(Settings(exchange_dir=exchange, spark=spark)) as engine:
        if teaching:
            liked_above = read_dataset(exchange).positive_level
            lists.write(engine.spark, Waiting(exchange, teaching, liked_above, rows=37, handed_on=10, marks=marks))
            return
        engine.of_users(
            exchange,
            artifacts.RATINGS,
            partial(seen_items, marks=marks),
            artifacts.USER_SEEN,
            columns=terms.COUNTED_FROM,
            everybody=artifacts.USERS,
        )


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
