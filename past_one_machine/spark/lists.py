"""The ranker's training lists on Spark: no shuffle, each task recalls the lists of its own users.

A request's random numbers depend on how many users and requests come before it. So requests are counted first: the
driver reads a number for each range of users. Then each task draws its requests again, and recalls their lists.

Run:    python -m past_one_machine.spark.lists <folder of a RecallSetup>
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from data_exchange_center import artifacts
from data_exchange_center.channels import Channel, ChannelSet, StoredVectors
from data_exchange_center.columns import Columns
from data_exchange_center.features import OneHotFeature
from data_exchange_center.release_parts import read_dataset
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError, run
from offline.data.lists import NOTHING_LIKED, ListsConfig, recall_lists
from offline.data.sequences import (
    Ints,
    Points,
    Sequences,
    augment_long_absences,
    profile_codes,
    request_points,
    sequences,
)
from past_one_machine.spark import users
from past_one_machine.spark.environment import session
from past_one_machine.spark.pairs import COLUMNS
from past_one_machine.spark.settings import SparkSettings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

ABOUT, CHANNELS = "about.json", "channels.npz"
DRAWN_AT_ONCE: Final = 1 << 20
LISTS_AT_ONCE: Final = 1000  # handed to Spark
COUNTED: Final = {"part": pa.int32(), "requests": pa.int64()}


@dataclass(frozen=True, eq=False)
class RecallSetup:
    """Training channels and settings for recalling lists, as files: written by the twin, read by each of Spark's tasks.

    Attributes:
        profile: the profile's vocabularies.
        item_numbers: (items,) ascending.
        channels: in the recipe's order.
    """

    config: ListsConfig
    profile: tuple[OneHotFeature, ...]
    item_numbers: Ints
    channels: tuple[Channel, ...]

    def save(self, folder: Path) -> None:
        (folder / CHANNELS).write_bytes(ChannelSet(self.item_numbers, self.channels).pack())
        profile = [feature.model_dump(mode="json") for feature in self.profile]
        (folder / ABOUT).write_text(json.dumps({"config": asdict(self.config), "profile": profile}), encoding="utf-8")

    @classmethod
    @lru_cache(maxsize=1)
    def load(cls, folder: Path) -> RecallSetup:
        """Inverse of `save`; once in a process."""
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        channels = ChannelSet.unpack((folder / CHANNELS).read_bytes())
        tuples = {name: tuple(about["config"][name]) for name in ("weights", "statistics")}
        config = ListsConfig(**about["config"] | tuples)
        profile = tuple(OneHotFeature.model_validate(each) for each in about["profile"])
        return cls(config, profile, channels.item_numbers, channels.channels)

    def channels_of(self, some: slice) -> tuple[Channel, ...]:
        """The channels, with the stored vectors of ``some`` of all users."""
        return tuple(
            replace(each, users=each.users[some]) if isinstance(each, StoredVectors) else each for each in self.channels
        )

    def draws(self, before: int) -> np.random.Generator:
        """Random generator in its state after drawing for the ``before`` earlier users."""
        rng = np.random.default_rng(self.config.seed)
        for begin in range(0, before, DRAWN_AT_ONCE):
            rng.integers(0, self.config.stride, min(DRAWN_AT_ONCE, before - begin))
        return rng

    def draws_late(self, everybody: int, begin: int) -> np.random.Generator:
        """Random generator for the delays of returns, in its state before request ``begin`` of all."""
        rng = self.draws(everybody)
        cast(np.random.PCG64, rng.bit_generator).advance(begin)  # one number for each request
        return rng

    def requests(self, past: Sequences, draws: np.random.Generator) -> Points:
        """Request points of users, at their own moments; advances ``draws`` to the users after these."""
        return self.config.drawn(past, request_points(past, self.config.stride, draws))


@dataclass(frozen=True)
class Lists:
    """Training lists of a range of users, as a task makes them.

    Attributes:
        setup: where a `RecallSetup` lies.
        liked_above: `Dataset.positive_level`.
        batch: rows of ratings, read at once.
        at_once: lists, handed on at once.
    """

    exchange_dir: Path
    setup: Path
    liked_above: int
    batch: int = users.BATCH
    at_once: int = LISTS_AT_ONCE

    def requests(self, part: users.Users) -> Iterator[tuple[Sequences, pd.DataFrame, Points]]:
        """Past, rows and requests of the range's users, some users after the other."""
        setup = RecallSetup.load(self.setup)
        draws = setup.draws(part.before)
        for ratings, people in users.some_users(self.exchange_dir, part, COLUMNS, batch=self.batch):
            user_numbers = people[Columns.USER].to_numpy()
            past = sequences(users.past_of(ratings), setup.item_numbers, self.liked_above, user_numbers)
            yield past, people, setup.requests(past, draws)

    def counted(self, part: users.Users) -> int:
        """Number of requests of the range's users."""
        return sum(len(points) for *_, points in self.requests(part))

    def made(self, part: users.Users, everybody: int, before: int) -> Iterator[pa.Table]:
        """The range's lists. ``before``: how many requests come before its own."""
        setup = RecallSetup.load(self.setup)
        config, draws, begin = setup.config, setup.draws_late(everybody, before), part.before
        for past, people, points in self.requests(part):
            profiles = profile_codes(setup.profile, people)
            channels = setup.channels_of(slice(begin, begin + len(people)))
            begin += len(people)
            for of_one in _by_user(augment_long_absences(past, points, draws)):
                lists = recall_lists(past, of_one, profiles, channels, config, only_liked=True).table(past.user_numbers)
                for first in range(0, len(lists), self.at_once):
                    yield lists.select(list(artifacts.LISTS.columns)).slice(first, self.at_once)


def _by_user(points: Points) -> Iterator[Points]:
    """Split points by user.

    The last digits of a matrix product depend on its shape; scored one by one, users do not affect each other.
    """
    ends: NDArray[np.int64] = np.flatnonzero(np.diff(points.users, append=-1)) + 1
    for begin, end in zip([0, *ends[:-1]], ends, strict=True) if len(points) else ():
        yield points.take(np.arange(begin, end))


def write(spark: SparkSession, lists: Lists, partitions: int) -> None:
    """Write `artifacts.LISTS`. Raises StepError when there would be none."""
    folder = lists.exchange_dir
    parts = users.ranges(folder, partitions)
    number = {part: place for place, part in enumerate(parts)}

    def counted(part: users.Users) -> Iterator[pd.DataFrame]:
        yield pd.DataFrame({"part": [number[part]], "requests": [lists.counted(part)]})

    counts = users.run(spark, parts, counted, COUNTED).toPandas().set_index("part")["requests"].sort_index()
    before = list(accumulate(counts.tolist(), initial=0))
    everybody = sum(part.size for part in parts)

    def made(part: users.Users) -> Iterator[pa.Table]:
        yield from lists.made(part, everybody, before[number[part]])

    with users.in_parts(artifacts.LISTS, folder) as there:
        users.write_parts(users.run(spark, parts, made, artifacts.LISTS.columns), there)
        if not users.rows_in(there):
            raise StepError(NOTHING_LIKED)


def main(settings: Settings) -> None:
    liked_above = read_dataset(settings.exchange_dir).positive_level
    with session(SparkSettings.load()) as spark:
        write(spark, Lists(settings.exchange_dir, Path(sys.argv[1]), liked_above), SparkSettings.load().partitions)


if __name__ == "__main__":
    from past_one_machine.spark import lists  # whose classes Spark's workers import; those of `__main__` they cannot

    run(lists.main)
