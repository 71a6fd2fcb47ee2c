"""Step 1 on Spark: offline/preprocess/s1_data_split.py, each task with the events of its own users.

Run:    RECSYS_ENGINE=spark make offline; alone: cd past_one_machine/spark && python s1_data_split.py
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from data_exchange_center import artifacts, provenance
from data_exchange_center.artifacts import Table
from data_exchange_center.files import parts_of, written_in_place
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from offline.data.split import Counted, counted, label_and_split, validate_data
from offline.preprocess import s1_data_split as step
from past_one_machine.spark import environment, users
from past_one_machine.spark.environment import SparkSettings, session


def main(settings: Settings) -> None:
    folder, share = settings.artifacts_dir, settings.recipe.data.train_share
    read = provenance.made_from(folder, settings.recipe, provenance.SPLIT)
    dataset = step.described(folder, read)
    if feedback := users.rows_in(artifacts.EVENTS.at(folder)):
        raise StepError(
            f"the server has collected {feedback:,} events of this data set, which RECSYS_ENGINE=pandas alone merges: "
            "leave them out with RECSYS_TRAIN_ON_EVENTS=false and run s0_get_data.py again, or compute with pandas."
        )
    raw, listed, items = artifacts.RAW
    parts = users.ranges(folder, SparkSettings.load().partitions, listed)
    events = partial(
        users.some_users,
        folder,
        columns=list(raw.columns),
        table=raw,
        listed=listed,
        batch=users.BATCH,
    )

    def split(part: users.Users) -> Iterator[pd.DataFrame]:
        for rows, _ in events(part):
            yield label_and_split(rows, dataset, share)

    with (
        session(SparkSettings.load()) as spark,
        users.in_parts(artifacts.RATINGS, folder) as there,
    ):
        made = users.run(spark, parts, split, artifacts.RATINGS.columns)
        users.write_parts(made, there)
        found = added_up(counted(rows) for rows in _some_users(there))
        validate_data(found, dataset, settings.recipe)
    for table, kept in ((listed, artifacts.USERS), (items, artifacts.ITEMS)):
        _copy(table, kept, folder)
    artifacts.SPLIT_REPORT.write(folder, read)
    print(provenance.SPLIT.account(folder, settings.recipe))
    step.say(found)


def _some_users(ratings: Path) -> Iterator[pd.DataFrame]:
    """Ratings in batches of whole users."""
    for path in parts_of(ratings):
        with pq.ParquetFile(path) as file:
            for rows in users.whole_users(file.iter_batches(users.BATCH)):
                yield rows.to_pandas()


def added_up(counts: Iterable[Counted]) -> Counted:
    """Sum the counts of several groups of users."""
    total: Counter[str] = Counter()
    parts: Counter[str] = Counter()
    longest = 0
    for each in counts:
        numbers: dict[str, Any] = asdict(each)
        parts.update(numbers.pop("parts"))
        longest = max(longest, numbers.pop("longest_past"))
        total.update(numbers)
    return Counted(**total, parts=dict(parts), longest_past=longest)


def _copy(table: Table, to: Table, folder: Path) -> None:
    with written_in_place(to.at(folder)) as temporary:
        shutil.copyfile(table.at(folder), temporary)


if __name__ == "__main__":
    environment.run(main, about=__doc__)
