"""The ranker's training lists (`offline.data.training_lists`) as a Spark job: no shuffle, each task has whole users.

A request's random numbers depend on how many users and requests come before it. So requests are counted first: the
driver reads a number for each part of the ratings. Then each task makes its requests again, and their lists.

Run:    python -m offline.engines.spark.lists <folder of a Teaching>
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
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
from data_exchange_center.columns import Columns
from data_exchange_center.files import parts_of
from data_exchange_center.release_parts import read_dataset
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError, run
from offline.data.inputs import profile_codes
from offline.data.requests import Points
from offline.data.sequences import Sequences, sequences
from offline.data.training_lists import NOTHING_LIKED
from offline.engines.spark.session import session
from offline.engines.spark.teaching import Teaching
from offline.engines.spark.whole_users import BATCH, whole_users
from offline.readers import PAST

COLUMNS: Final = [Columns.USER, Columns.ITEM, Columns.RATING, Columns.TIMESTAMP, Columns.SPLIT]
ARROW: Final = pa.schema(list(artifacts.LISTS.columns.items()))
COUNTED: Final = pa.schema([("part", pa.int32()), ("requests", pa.int64())])


@dataclass(frozen=True)
class Part:
    """A part of the ratings that holds some.

    Attributes:
        first: its first user.
        end: the first user of the next part; None: it is the last.
        before: how many of all users come before its first.
    """

    path: Path
    first: int
    end: int | None
    before: int


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
        teaching, own = Teaching.load(self.teaching), [(Columns.USER, ">=", part.first)]
        if part.end is not None:
            own.append((Columns.USER, "<", part.end))
        columns = [Columns.USER, *(feature.name for feature in teaching.profile)]
        users = artifacts.USERS.read(self.exchange_dir, columns, own)
        draws, begin = teaching.asked.draws(part.before), 0
        with pq.ParquetFile(part.path) as file:
            for table in whole_users(file.iter_batches(self.rows, columns=COLUMNS)):
                ratings = table.to_pandas()
                end = int(np.searchsorted(users[Columns.USER], ratings[Columns.USER].iloc[-1], side="right"))
                some = users.iloc[begin:end]  # with those who have no ratings
                known = ratings[ratings[Columns.SPLIT].isin(PAST)]
                past = sequences(known, teaching.itemids, self.liked_above, some[Columns.USER].to_numpy())
                place = slice(part.before + begin, part.before + end)
                yield past, profile_codes(teaching.profile, some), place, teaching.asked.requests(past, draws)
                begin = end

    def lists(self, part: Part, users: int, requests: int, before: int) -> Iterator[pa.RecordBatch]:
        """The part's lists, ``before``: how many of all requests come before its own."""
        teaching = Teaching.load(self.teaching)
        draws = teaching.asked.draws_later(users, requests, before)
        for past, profiles, place, points in self.requests(part):
            asked = teaching.asked.asked(points, *draws)
            lists = teaching.asked.lists(past, asked, profiles, teaching.teachers_of(place), by_user=True)
            table = pa.Table.from_pandas(lists.table(past.userids), ARROW, preserve_index=False)
            yield from table.replace_schema_metadata(None).to_batches(self.handed_on)


def write(spark: SparkSession, asking: Asking) -> None:
    """`artifacts.LISTS`. Raises StepError when there would be none."""
    parts, users = _parts(asking.exchange_dir)
    numbers = spark.range(0, len(parts), 1, len(parts))

    def counted(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for number in _numbers(batches):
            requests = sum(len(points) for *_, points in asking.requests(parts[number]))
            yield pa.record_batch([pa.array([number], pa.int32()), pa.array([requests])], schema=COUNTED)

    counts = dict(numbers.mapInArrow(counted, from_arrow_schema(COUNTED)).collect())  # a row a part
    before = list(accumulate((counts[number] for number in range(len(parts))), initial=0))

    def made(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for number in _numbers(batches):
            yield from asking.lists(parts[number], users, before[-1], before[number])

    with artifacts.LISTS.in_parts(asking.exchange_dir) as folder:
        numbers.mapInArrow(made, from_arrow_schema(ARROW)).write.mode("overwrite").parquet(folder.as_uri())
        if not any(pq.read_metadata(part).num_rows for part in parts_of(folder)):
            raise StepError(NOTHING_LIKED)


def _numbers(batches: Iterator[pa.RecordBatch]) -> Iterator[int]:
    for batch in batches:
        yield from batch.column(0).to_pylist()


def _parts(exchange_dir: Path) -> tuple[list[Part], int]:
    """The parts that hold ratings, and how many users there are, who pass by in batches."""
    paths = [path for path in parts_of(artifacts.RATINGS.require(exchange_dir)) if pq.read_metadata(path).num_rows]
    firsts = [_first(path) for path in paths]
    before, users = np.zeros(len(firsts), np.int64), 0
    for path in parts_of(artifacts.USERS.require(exchange_dir)):
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(BATCH, columns=[Columns.USER]):
                before += np.searchsorted(batch.column(0).to_numpy(), firsts)
                users += batch.num_rows
    ends: Sequence[int | None] = [*firsts[1:], None]
    return [Part(*about) for about in zip(paths, firsts, ends, before.tolist(), strict=True)], users


def _first(path: Path) -> int:
    with pq.ParquetFile(path) as file:
        batch = next(file.iter_batches(1, columns=[Columns.USER]))
    return int(batch.column(0)[0].as_py())


def main(settings: Settings) -> None:
    liked_above = read_dataset(settings.exchange_dir).positive_level
    with session(settings.spark) as spark:
        write(spark, Asking(settings.exchange_dir, Path(sys.argv[1]), liked_above))


if __name__ == "__main__":
    run(main)
