"""A job on two executors, the first task of which waits for its executor to be killed: what `test_failures` starts.

Run:    python -m tests.cluster.spark.waiting <exchange folder> <folder of marks>
"""

from __future__ import annotations

import os
import sys
import time
from functools import partial
from pathlib import Path

import pandas as pd

from data_exchange_center import artifacts
from data_exchange_center.settings import Settings, SparkSettings
from offline.data import term_recall, terms
from offline.engines.spark.engine import started

PATIENCE_S = 300


def seen_items(ratings: pd.DataFrame, marks: Path) -> pd.DataFrame:
    """`term_recall.seen_items`; the first task writes the process id of its executor, and waits for it to be gone."""
    if len(ratings):  # else: the driver asks for the columns
        try:
            (marks / "first").touch(exist_ok=False)
        except FileExistsError:
            return term_recall.seen_items(ratings)
        (marks / "writing").write_text(str(executor()))
        (marks / "writing").rename(marks / "executor")
        until = time.monotonic() + PATIENCE_S
        while not (marks / "killed").exists() and time.monotonic() < until:
            time.sleep(0.1)
        raise AssertionError("this executor is gone: nobody reads what the task says")
    return term_recall.seen_items(ratings)


def executor() -> int:
    """The parent of the daemon that this worker is a child of."""
    status = Path(f"/proc/{os.getppid()}/status").read_text()
    return int(status.split("PPid:")[1].split()[0])


def main(exchange: Path, marks: Path) -> None:
    spark = SparkSettings(master="local-cluster[2,1,1024]", partitions=2)
    with started(Settings(exchange_dir=exchange, spark=spark)) as engine:
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
