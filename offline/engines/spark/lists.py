"""The ranker's training lists (`offline.data.training_lists`) as a Spark job: no shuffle, each task has whole users.

A request's random numbers depend on how many users and requests come before it. So requests are counted first: the
driver reads a number for each part of the ratings. Then each task makes its requests again, and their lists.

Run:    python -m offline.engines.spark.lists <folder of a Teaching>
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyspark.sql import SparkSession
from pyspark.sql.pandas.types import from_arrow_schema

from data_exchange_center import artifacts
from data_exchange_center.files import parts_of
from data_exchange_center.release_parts import read_dataset
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError, run
from offline.data.lists import NOTHING_LIKED
from offline.data.requests import Points
from offline.data.sequences import Sequences, profile_codes
from offline.engines.spark.pasts import Part, Pasts, all_parts, numbers
from offline.engines.spark.session import session
from offline.engines.spark.teaching import Teaching
from offline.engines.spark.whole_users import BATCH

ARROW: Final = pa.schema(list(artifacts.LISTS.columns.items()))
COUNTED: Final = pa.schema([("part", pa.int32()), ("requests", pa.int64())])


@dataclass(frozen=True)
class Asking:
    """What tasks are told.

    Attributes:
        teaching: where a `Teaching` lies.
        liked_above: `Dataset.positive_level`.
        rows: of ratings, read at once.
        handed_on: lists, at once.
    """

    exchange_dir: Path
    teaching: Path
    liked_above: int
    rows: int = BATCH
    handed_on: int = 1000

    def requests(self, part: Part) -> Iterator[tuple[Sequences, NDArray[np.int64], slice, Points]]:
        """Of the part's users, some after the other: their past, profiles, place among all, and requests."""
        teaching = Teaching.load(self.teaching)
        names = [feature.name for feature in teaching.profile]
        pasts = Pasts(self.exchange_dir, teaching.itemids, self.liked_above, names, self.rows)
        draws, begin = teaching.asked.draws(part.before), part.before
        for past, users in pasts.of(part):
            end = begin + len(users)
            profiles = profile_codes(teaching.profile, users)
            yield past, profiles, slice(begin, end), teaching.asked.requests(past, draws)
            begin = end

    def lists(self, part: Part, users: int, requests: int, before: int) -> Iterator[pa.RecordBatch]:
        """The part's lists, ``before``: how many of all requests come before its own."""
        teaching = Teaching.load(self.teaching)
        draws = teaching.asked.draws_later(users, requests, before)
        for past, profiles, place, points in self.requests(part):
            asked = teaching.asked.asked(points, *draws)
            lists = teaching.asked.lists(past, asked, profiles, teaching.teachers_of(place), by_user=True)
            yield from lists.table(past.userids).select(ARROW.names).cast(ARROW).to_batches(self.handed_on)


def write(spark: SparkSession, asking: Asking) -> None:
    """`artifacts.LISTS`. Raises StepError when there would be none."""
    parts, users = all_parts(asking.exchange_dir)
    each = spark.range(0, len(parts), 1, len(parts))

    def counted(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for number in numbers(batches):
            requests = sum(len(points) for *_, points in asking.requests(parts[number]))
            yield pa.record_batch([pa.array([number], pa.int32()), pa.array([requests])], schema=COUNTED)

    counts = dict(each.mapInArrow(counted, from_arrow_schema(COUNTED)).collect())  # a row a part
    before = list(accumulate((counts[number] for number in range(len(parts))), initial=0))

    def made(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for number in numbers(batches):
            yield from asking.lists(parts[number], users, before[-1], before[number])

    with artifacts.LISTS.in_parts(asking.exchange_dir) as folder:
        each.mapInArrow(made, from_arrow_schema(ARROW)).write.mode("overwrite").parquet(folder.as_uri())
        if not any(pq.read_metadata(part).num_rows for part in parts_of(folder)):
            raise StepError(NOTHING_LIKED)


def main(settings: Settings) -> None:
    liked_above = read_dataset(settings.exchange_dir).positive_level
    with session(settings.spark) as spark:
        write(spark, Asking(settings.exchange_dir, Path(sys.argv[1]), liked_above))


if __name__ == "__main__":
    run(main)
