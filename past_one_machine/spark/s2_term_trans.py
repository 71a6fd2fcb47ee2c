"""Step 2 on Spark: offline/preprocess/s2_term_trans.py, each task with the ratings of its own users.

Run:    RECSYS_ENGINE=spark make offline; alone: cd past_one_machine/spark && python s2_term_trans.py
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pandas as pd
import pyarrow as pa

from data_exchange_center import artifacts, provenance
from data_exchange_center.columns import Columns
from data_exchange_center.settings import Settings
from offline.data import terms
from offline.preprocess import s2_term_trans as step
from past_one_machine.spark import environment, users
from past_one_machine.spark.environment import SparkSettings, session


def main(settings: Settings) -> None:
    folder, window = settings.artifacts_dir, settings.recipe.data.window
    genres, item_terms = step.genres_of_items(folder)
    parts = users.ranges(folder, SparkSettings.load().partitions)
    some_users = partial(
        users.some_users, folder, columns=terms.COUNTED_FROM, batch=users.BATCH
    )
    statistics = dict.fromkeys(
        terms.columns_of(genres, terms.IMPRESSIONS, terms.CLICKS), pa.int8()
    )

    def before(part: users.Users) -> Iterator[pd.DataFrame]:
        for ratings, _ in some_users(part):
            yield terms.impression_terms(
                users.past_of(ratings), item_terms, genres, window
            )

    def newest(part: users.Users) -> Iterator[pd.DataFrame]:
        for ratings, people in some_users(part):
            yield terms.user_terms(
                users.past_of(ratings), people[Columns.USER], item_terms, genres, window
            )

    with session(SparkSettings.load()) as spark:
        of_users = users.run(
            spark, parts, newest, {**artifacts.USER_TERMS.columns, **statistics}
        )
        counted = users.write(artifacts.USER_TERMS, folder, of_users)
        if settings.recipe.ranker.examples == "pairs":
            columns = {**artifacts.IMPRESSION_TERMS.columns, **statistics}
            of_rows = users.run(spark, parts, before, columns)
            users.write(artifacts.IMPRESSION_TERMS, folder, of_rows)
    artifacts.TERMS_REPORT.write(
        folder, provenance.made_from(folder, settings.recipe, provenance.TERMS)
    )
    print(provenance.TERMS.account(folder, settings.recipe))
    step.say(folder, counted, genres, item_terms)


if __name__ == "__main__":
    environment.run(main, about=__doc__)
