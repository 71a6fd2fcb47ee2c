"""Users with their past, some after the other: what a task reads that has a part of the ratings, and its users.

Everybody is in one part, those without ratings too, so that what is made of all parts is of all users in order. At once
a task holds a batch of ratings, one user's, and the profiles of its part.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from data_exchange_center import artifacts
from data_exchange_center.columns import Columns
from data_exchange_center.files import parts_of
from offline.data.sequences import Ints, Sequences, sequences
from offline.engines.spark.whole_users import BATCH, whole_users
from offline.readers import PAST

COLUMNS: Final = [Columns.USER, Columns.ITEM, Columns.RATING, Columns.TIMESTAMP, Columns.SPLIT]


@dataclass(frozen=True)
class Part:
    """A part of the ratings that holds some, and the users from its first one to the next part's.

    Attributes:
        first: its first user; None: all users up to ``end`` are its, as it is the first part.
        end: the first user of the next part; None: it is the last.
        before: how many of all users come before its own.
    """

    path: Path
    first: int | None
    end: int | None
    before: int


@dataclass(frozen=True, eq=False)
class Pasts:
    """How they are read.

    Attributes:
        itemids: (items,) ascending.
        liked_above: `Dataset.positive_level`.
        profile: columns of `artifacts.USERS`.
        rows: of ratings, read at once.
    """

    exchange_dir: Path
    itemids: Ints
    liked_above: int
    profile: Sequence[str]
    rows: int = BATCH

    def of(self, part: Part) -> Iterator[tuple[Sequences, pd.DataFrame]]:
        """The past of some users, and their rows of `artifacts.USERS`."""
        begin, users = 0, self._users(part)
        with pq.ParquetFile(part.path) as file:
            for table in whole_users(file.iter_batches(self.rows, columns=COLUMNS)):
                ratings = table.to_pandas()
                end = int(np.searchsorted(users[Columns.USER], ratings[Columns.USER].iloc[-1], side="right"))
                yield self._past(ratings, users[begin:end])
                begin = end
        if begin < len(users):
            yield self._past(ratings[:0], users[begin:])

    def _users(self, part: Part) -> pd.DataFrame:
        own = [(Columns.USER, ">=", part.first)] if part.first is not None else []
        own += [(Columns.USER, "<", part.end)] if part.end is not None else []
        return artifacts.USERS.read(self.exchange_dir, [Columns.USER, *self.profile], own or None)

    def _past(self, ratings: pd.DataFrame, users: pd.DataFrame) -> tuple[Sequences, pd.DataFrame]:
        known = ratings[ratings[Columns.SPLIT].isin(PAST)]
        return sequences(known, self.itemids, self.liked_above, users[Columns.USER].to_numpy()), users


def all_parts(exchange_dir: Path) -> tuple[list[Part], int]:
    """In order, and how many users there are, who pass by in batches."""
    paths = [path for path in parts_of(artifacts.RATINGS.require(exchange_dir)) if pq.read_metadata(path).num_rows]
    later = [_first(path) for path in paths[1:]]
    before, users = np.zeros(len(later), np.int64), 0
    for path in parts_of(artifacts.USERS.require(exchange_dir)):
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(BATCH, columns=[Columns.USER]):
                before += np.searchsorted(batch.column(0).to_numpy(), later)
                users += batch.num_rows
    firsts: list[int | None] = [None, *later]
    ends: list[int | None] = [*later, None]
    return [Part(*about) for about in zip(paths, firsts, ends, [0, *before.tolist()], strict=True)], users


def numbers(batches: Iterator[pa.RecordBatch]) -> Iterator[int]:
    """A task's numbers of parts."""
    for batch in batches:
        yield from batch.column(0).to_pylist()


def _first(path: Path) -> int:
    with pq.ParquetFile(path) as file:
        batch = next(file.iter_batches(1, columns=[Columns.USER]))
    return int(batch.column(0)[0].as_py())
