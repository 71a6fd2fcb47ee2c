"""Step 3 on Spark: offline/recall/s1_term_recall.py, each task with its own users; counts of items are added up.

Run:    RECSYS_ENGINE=spark make offline; alone: cd past_one_machine/spark && python s1_term_recall.py
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Final

import pandas as pd
import pyarrow as pa
from pyarrow import dataset as ds

from data_exchange_center import artifacts
from data_exchange_center.columns import Columns
from data_exchange_center.features import OneHotFeature, one_hot
from data_exchange_center.files import parts_of
from data_exchange_center.release_parts import read_dataset
from data_exchange_center.settings import Settings
from offline.data import terms
from offline.data.sequences import user_states
from offline.recall import s1_term_recall as step
from past_one_machine.spark import environment, users
from past_one_machine.spark.environment import SparkSettings, session

READ: Final = [*terms.COUNTED_FROM, Columns.RATING]
EVERYBODY: Final = 0  # no item's number: key of the number of users
CLICKS: Final = {Columns.ITEM: pa.int32(), "users": pa.int64()}


def main(settings: Settings) -> None:
    folder, recipe = settings.artifacts_dir, settings.recipe
    genres: list[str] = artifacts.GENRES.read(folder)[Columns.GENRES]
    dataset = read_dataset(folder)
    profile = [_feature(settings, name) for name in dataset.profile]
    parts = users.ranges(folder, SparkSettings.load().partitions)
    some_users = partial(users.some_users, folder, columns=READ, batch=users.BATCH)

    def preferences(part: users.Users) -> Iterator[pd.DataFrame]:
        newest = users.rows_of(artifacts.USER_TERMS, folder, part)
        yield terms.preferences(newest, genres, recipe.data.clicks_for_preference)

    def seen(part: users.Users) -> Iterator[pd.DataFrame]:
        for ratings, people in some_users(part):
            past = users.past_of(ratings)
            had = past[dataset.had(past[Columns.RATING].to_numpy())]
            yield terms.seen_items(had, people[Columns.USER])

    def states(part: users.Users) -> Iterator[pd.DataFrame]:
        for ratings, people in some_users(part):
            yield user_states(users.past_of(ratings), people, profile)

    def clicks(part: users.Users) -> Iterator[pd.DataFrame]:
        for ratings, _ in some_users(part):
            clicked, people = terms.clicked_items(users.past_of(ratings))
            counts = pd.concat([clicked, pd.Series({EVERYBODY: people})])
            yield counts.rename("users").rename_axis(Columns.ITEM).reset_index()

    with session(SparkSettings.load()) as spark:
        for table, made in (
            (artifacts.USER_PREFERENCES, preferences),
            (artifacts.USER_SEEN, seen),
            (artifacts.USER_STATE, states),
        ):
            users.write(table, folder, users.run(spark, parts, made, table.columns))

        rows = (
            users.run(spark, parts, clicks, CLICKS).groupBy(Columns.ITEM).sum("users")
        )
        total = (
            rows.toDF(*CLICKS)
            .toPandas()
            .astype({Columns.ITEM: "int32"})
            .set_index(Columns.ITEM)["users"]
        )
        artifacts.POPULAR.write(
            folder, terms.popularity(total.drop(EVERYBODY), int(total[EVERYBODY]))
        )
    preferring, everybody = _preferring(settings)
    step.write_report(settings, preferring / everybody, everybody)


def _feature(settings: Settings, column: str) -> OneHotFeature:
    """A profile's column, with the values that users have."""
    parts = parts_of(artifacts.USERS.require(settings.artifacts_dir))
    batches = ds.dataset(parts).to_batches(columns=[column])
    return one_hot(
        column,
        "user",
        list({value for batch in batches for value in batch.column(0).to_pylist()}),
    )


def _preferring(settings: Settings) -> tuple[int, int]:
    """Number of users with a preferred genre, and of all users."""
    lists = artifacts.USER_PREFERENCES.read_arrow(
        settings.artifacts_dir, [Columns.GENRES]
    )[Columns.GENRES]
    return sum(len(each) > 0 for each in lists), len(lists)


if __name__ == "__main__":
    environment.run(main, about=__doc__)
