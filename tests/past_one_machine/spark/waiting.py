"""A job on two executors, the first task of which waits for its executor to be killed.

Run:    python -m tests.past_one_machine.spark.waiting <exchange folder> <folder of a Teaching> <folder of marks>
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from data_exchange_center.release_parts import read_dataset
from data_exchange_center.settings import SparkSettings
from past_one_machine.spark import lists
from past_one_machine.spark.environment import session
from past_one_machine.spark.lists import Lists
from past_one_machine.spark.users import Users

PATIENCE_S = 300


@dataclass(frozen=True)
class Waiting(Lists):
    """When some of a range's lists have been handed on."""

    marks: Path = Path()

    def made(self, part: Users, everybody: int, requests: int, before: int) -> Iterator[pa.Table]:
        for number, table in enumerate(super().made(part, everybody, requests, before)):
            if number == 2:
                wait_to_be_killed(self.marks)
            yield table


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


def executor() -> int:
    """The parent of the daemon that this worker is a child of."""
    status = Path(f"/proc/{os.getppid()}/status").read_text()
    return int(status.split("PPid:")[1].split()[0])


def main(exchange: Path, teaching: Path, marks: Path) -> None:
    asking = Waiting(exchange, teaching, read_dataset(exchange).positive_level, batch=37, at_once=10, marks=marks)
    with session(SparkSettings(master="local-cluster[2,1,1024]", partitions=2)) as spark:
        lists.write(spark, asking, 2)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
