"""Features of users and of items on Spark: users are not shuffled, of items only partial sums are.

A quantile of all times is found in two passes, so that no process holds all times: events are counted per era, then per
second in the few eras in which the quantile lies.

Run:    python -m past_one_machine.spark.features
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from data_exchange_center import artifacts
from data_exchange_center.columns import Columns
from data_exchange_center.files import parts_of
from data_exchange_center.release_parts import read_dataset
from data_exchange_center.settings import Settings
from data_exchange_center.steps import run
from offline.data import statistics
from offline.data.lists import ranker_of_lists
from offline.data.sequences import Ints, Sequences, sequences
from offline.data.statistics import RECENT, Overall
from past_one_machine.spark import users
from past_one_machine.spark.environment import session
from past_one_machine.spark.pairs import COLUMNS
from past_one_machine.spark.settings import SparkSettings

if TYPE_CHECKING:
    from pathlib import Path

    from pyspark.sql import SparkSession

JOINED: Final = {"sum": np.add, "max": np.maximum, "min": np.minimum}
ERA_S: Final = 1 << 16  # some eighteen hours
ERAS: Final = {"era": pa.int64(), Columns.RATING: pa.int8(), "events": pa.int64()}
SECONDS: Final = {Columns.TIMESTAMP: pa.int64(), "events": pa.int64()}


def write(
    spark: SparkSession, exchange_dir: Path, partitions: int, more: Sequence[str], batch: int = users.BATCH
) -> None:
    """Write `statistics.user_statistics` and `statistics.item_statistics`.

    Args:
        more: as in `statistics.statistics`.
        batch: rows of ratings read at once.
    """
    dataset, parts = read_dataset(exchange_dir), users.ranges(exchange_dir, partitions)
    items = artifacts.ITEMS.read(exchange_dir).sort_values(Columns.ITEM)
    item_numbers = items[Columns.ITEM].to_numpy()
    some_users = partial(users.some_users, exchange_dir, columns=COLUMNS, batch=batch)

    def of_users(part: users.Users) -> Iterator[pd.DataFrame]:
        for ratings, people in some_users(part):
            user_numbers = people[Columns.USER].to_numpy()
            past = sequences(users.past_of(ratings), item_numbers, dataset.positive_level, user_numbers)
            yield statistics.user_statistics(past, people[[Columns.USER, *dataset.profile]], more)

    kinds = pq.read_schema(parts_of(artifacts.USERS.require(exchange_dir))[0])
    profile = {name: pa.string() if kinds.field(name).type == pa.string() else pa.int64() for name in dataset.profile}
    counts = [each.column.name for each in statistics.of_users(more)]
    columns = {**artifacts.USER_FEATURES.columns, **profile, **dict.fromkeys(counts, pa.int64())}
    users.write(artifacts.USER_FEATURES, exchange_dir, users.run(spark, parts, of_users, columns))

    known = overall(spark, exchange_dir, parts)
    nobody = sequences(pd.DataFrame(columns=COLUMNS[:4], dtype=np.int64), item_numbers, dataset.positive_level)
    counting = statistics.of_items(more)
    neutral = counted_of(nobody, counting, known)  # (items + 1, k) for each statistic
    join = [each.joined for each, zeros in zip(counting, neutral, strict=True) for _ in range(zeros.shape[1])]
    names = [f"count{column}" for column in range(len(join))]

    def of_items(part: users.Users) -> Iterator[pa.Table]:
        total, rated = np.concatenate(neutral, axis=1), np.zeros(len(item_numbers) + 1, np.bool_)
        for ratings, _ in some_users(part):
            past = sequences(users.past_of(ratings), item_numbers, dataset.positive_level)
            some = np.concatenate(counted_of(past, counting, known), axis=1)
            for column, name in enumerate(join):
                JOINED[name](total[:, column], some[:, column], out=total[:, column])
            rated |= past.rated()
        found = np.flatnonzero(rated).astype(np.int32)
        yield pa.table([found, *total[found].T], ["item", *names])

    from pyspark.sql import functions as F  # noqa: N812

    added = [getattr(F, of)(name).alias(name) for name, of in zip(names, join, strict=True)]
    rows = users.run(spark, parts, of_items, {"item": pa.int32(), **dict.fromkeys(names, pa.int64())})
    found, total = rows.groupBy("item").agg(*added).toPandas(), np.concatenate(neutral, axis=1)  # a row an item
    total[found["item"]] = found[names]
    counted: list[Ints] = np.split(total, np.cumsum([counts.shape[1] for counts in neutral])[:-1], axis=1)
    of_data = items[[number.column for number in dataset.numbers]].to_numpy(np.float64)
    table = statistics.item_table(item_numbers, counting, counted, known, dataset, of_data)
    artifacts.ITEM_FEATURES.write(exchange_dir, table)


def counted_of(past: Sequences, counting: Sequence[statistics.ItemStatistic], known: Overall) -> list[Ints]:
    """Count the items' statistics over some users' events: (items + 1, k) for each."""
    return [each.counted(past, known).reshape(past.n_items + 1, -1) for each in counting]


def overall(spark: SparkSession, exchange_dir: Path, parts: Sequence[users.Users]) -> Overall:
    """Compute `Overall.of` all events on Spark."""

    def by_era(part: users.Users) -> Iterator[pd.DataFrame]:
        for ratings, _ in users.some_users(exchange_dir, part, COLUMNS):
            past = users.past_of(ratings)
            yield _counted(past.assign(era=past[Columns.TIMESTAMP] // ERA_S), ["era", Columns.RATING])

    def by_second(part: users.Users) -> Iterator[pd.DataFrame]:
        for ratings, _ in users.some_users(exchange_dir, part, COLUMNS):
            past = users.past_of(ratings)
            yield _counted(past[(past[Columns.TIMESTAMP] // ERA_S).isin(around)], [Columns.TIMESTAMP])

    # the eras of the two events between which the quantile lies
    eras = users.run(spark, parts, by_era, ERAS).groupBy("era", Columns.RATING).sum("events").toDF(*ERAS).toPandas()
    counts = eras.groupby("era")["events"].sum()
    place = float((counts.sum() - 1) * RECENT)  # among all events, from 0; between two where it is no whole number
    around = counts.index[_events(counts, place)].tolist()

    # these two events
    of_seconds = users.run(spark, parts, by_second, SECONDS).groupBy(Columns.TIMESTAMP).sum("events")
    seconds = of_seconds.toDF(*SECONDS).toPandas().set_index(Columns.TIMESTAMP)["events"].sort_index()
    before = int(counts.loc[: seconds.index.min() // ERA_S - 1].sum())
    between = seconds.index[_events(seconds, place - before)].to_numpy()
    rated = eras[Columns.RATING].to_numpy(np.int64) @ eras["events"].to_numpy(np.int64)
    return Overall(float(np.quantile(between, place % 1)), float(rated / counts.sum()))


def _counted(events: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    return events.groupby(keys).size().rename("events").reset_index()


def _events(counts: pd.Series, place: float) -> NDArray[np.int64]:
    """Positions in ``counts`` (ascending) of the events before and after a place."""
    ends = counts.to_numpy().cumsum()
    found: NDArray[np.int64] = np.searchsorted(ends, [math.floor(place), math.ceil(place)], side="right")
    return found


def main(settings: Settings) -> None:
    with session(SparkSettings.load()) as spark:
        more = ranker_of_lists(settings.recipe).statistics
        write(spark, settings.exchange_dir, SparkSettings.load().partitions, more)


if __name__ == "__main__":
    run(main)
