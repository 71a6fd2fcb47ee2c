"""Small data sets that are hard to split among tasks.

Ties in time, users without ratings, one with nearly all.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from data_exchange_center import artifacts
from data_exchange_center.channels import BREAK_S
from data_exchange_center.columns import Columns
from data_exchange_center.dataset import Dataset, HoldoutRule, ItemNumber
from data_exchange_center.files import sha256
from data_exchange_center.settings import Settings
from offline.data.split import label_and_split
from offline.feedback import SCHEMA

NOW: Final = 1_600_000_000
GENRES: Final = ("Drama", "Action", "Sci-Fi")
HOLDOUT: Final = HoldoutRule(last=3)


@dataclass(frozen=True)
class World:
    """A data set in standard form.

    Attributes:
        raw: userid, itemid, rating, timestamp, sorted by user and time.
        users, items: as `artifacts.USERS` and `artifacts.ITEMS`.
    """

    dataset: Dataset
    raw: pd.DataFrame
    users: pd.DataFrame
    items: pd.DataFrame

    def read(self, exchange_dir: Path) -> Settings:
        """Write what step 0 leaves. Settings of the folder."""
        tables = zip(artifacts.RAW, (self.raw, self.users, self.items), strict=True)
        digests = {
            Path(table.path).name: sha256(table.write(exchange_dir, rows))
            for table, rows in tables
        }
        dataset = self.dataset.model_copy(update={"sha256": digests})
        artifacts.DATASET.write(exchange_dir, dataset.model_dump(mode="json"))
        artifacts.EVENTS.write(exchange_dir, SCHEMA.empty_table().to_pandas())
        return settings_of(exchange_dir)

    def split(self, exchange_dir: Path) -> Settings:
        """Write what steps 0 and 1 leave. Settings of the folder."""
        artifacts.DATASET.write(exchange_dir, self.dataset.model_dump(mode="json"))
        artifacts.RATINGS.write(
            exchange_dir, label_and_split(self.raw, self.dataset, 0.8)
        )
        artifacts.USERS.write(exchange_dir, self.users)
        artifacts.ITEMS.write(exchange_dir, self.items)
        return settings_of(exchange_dir)


def settings_of(exchange_dir: Path) -> Settings:
    return Settings(exchange_dir=exchange_dir, engine="spark")


def world(
    users: int = 40, items: int = 30, most: int = 0, seconds: int = 4_000, seed: int = 1
) -> World:
    """User k has about k events, some have none.

    Args:
        most: events of the fifth user besides.
        seconds: in which all events are, but for a break in their middle; few of them: most have the second of others.
    """
    random = np.random.default_rng(seed)
    lengths = np.arange(users)
    lengths[[0, 7, users - 1]] = 0
    lengths[4] += most
    userids = np.repeat(np.arange(10, 10 + 3 * users, 3), lengths)
    items_rated, ratings = (
        random.integers(0, items, len(userids)),
        random.integers(1, 6, len(userids)),
    )
    times = random.integers(0, seconds, len(userids))
    raw = pd.DataFrame(
        {
            Columns.USER: userids.astype(np.int32),
            Columns.ITEM: (items_rated * 2 + 1).astype(np.int32),
            Columns.RATING: ratings.astype(np.int8),
            Columns.TIMESTAMP: NOW
            + times
            + np.where(2 * times > seconds, 2 * BREAK_S, 0),
        }
    ).sort_values([Columns.USER, Columns.TIMESTAMP], kind="stable", ignore_index=True)
    everybody = np.arange(10, 10 + 3 * users, 3, dtype=np.int32)
    people = pd.DataFrame(
        {
            Columns.USER: everybody,
            Columns.OWN_ID: [f"u {user}é" for user in everybody],
            Columns.GENDER: random.choice(["F", "M"], users),
            Columns.AGE: random.choice([18, 25, 56], users).astype(np.int32),
        }
    )
    itemids = np.arange(1, 2 * items + 1, 2, dtype=np.int32)
    catalogue = pd.DataFrame(
        {
            Columns.ITEM: itemids,
            Columns.OWN_ID: itemids.astype(str),
            Columns.TITLE: [f"Épisode {item}" for item in itemids],
            Columns.GENRES: [
                list(random.choice(GENRES, random.integers(0, 4), replace=False))
                for _ in itemids
            ],
            "year": np.where(itemids % 5 == 0, np.nan, 1950.0 + itemids),
        }
    )
    dataset = Dataset(
        name="world",
        origin="made up",
        counts={
            "ratings": len(raw),
            "users": users,
            "items": items,
            "genres": len(GENRES),
        },
        sha256={},
        levels=(1, 2, 3, 4, 5),
        positive_level=3,
        profile=(Columns.GENDER, Columns.AGE),
        terms=("genre",),
        numbers=(ItemNumber(name="year", column="year"),),
        holdout=HOLDOUT,
    )
    return World(dataset, raw, people, catalogue)
