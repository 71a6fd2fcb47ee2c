"""The engine of a laptop: pandas, all of a table in memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from data_exchange_center import artifacts
from data_exchange_center.artifact_kinds import Table
from data_exchange_center.channels import Channel
from data_exchange_center.columns import Columns
from data_exchange_center.dataset import Dataset
from offline.data.lists import ListsAsked, ListsMade
from offline.data.recorded import Merged, merge
from offline.data.samples import RatedPairs
from offline.data.sanity import Counted, counted
from offline.data.sequences import Inputs
from offline.data.split import label_and_split
from offline.data.statistics import item_statistics, user_statistics
from offline.data.whole_users import Keys, OfUsers, added_up, for_everybody
from offline.engines.room import expect_room
from offline.ingestion import ingest
from offline.ingestion.declaration import INTERACTIONS
from offline.ingestion.sources import Source


@dataclass(frozen=True)
class PandasTables:
    """See `contract.SplitTables`."""

    ratings: pd.DataFrame
    data: ingest.Ingested

    def counted(self) -> Counted:
        return counted(self.ratings)

    def write(self, exchange_dir: Path) -> None:
        artifacts.RATINGS.write(exchange_dir, self.ratings)
        artifacts.USERS.write(exchange_dir, self.data.users)
        artifacts.ITEMS.write(exchange_dir, self.data.items)


@dataclass(frozen=True)
class PandasJoined:
    """See `contract.Joined`."""

    data: ingest.Ingested
    merged: Merged

    @property
    def dataset(self) -> Dataset:
        return self.data.dataset

    def split(self, dataset: Dataset, train_share: float) -> PandasTables:
        rows = label_and_split(self.merged.ratings, dataset, train_share, self.merged.recorded)
        return PandasTables(rows, self.data)


@dataclass(frozen=True)
class PandasIngested:
    """See `contract.Ingested`."""

    data: ingest.Ingested

    @property
    def dataset(self) -> Dataset:
        return self.data.dataset

    @property
    def span(self) -> tuple[int, int]:
        times = self.data.ratings[Columns.TIMESTAMP]
        return int(times.min()), int(times.max())

    def join(self, events: pd.DataFrame) -> PandasJoined:
        data = self.data
        return PandasJoined(data, merge(data.dataset, data.ratings, data.users, data.items, events))


class PandasEngine:
    """See `contract.Engine`. ``memory_gb``: that it may take; what needs more is refused."""

    def __init__(self, memory_gb: float = math.inf) -> None:
        self.memory_gb = memory_gb

    def ingest(self, source: Source) -> PandasIngested:
        expect_room(source.tables[INTERACTIONS], self.memory_gb)
        return PandasIngested(ingest.ingest(source.declaration, source.tables))

    def of_users(
        self,
        exchange_dir: Path,
        read: Table,
        function: OfUsers,
        written: Table,
        *,
        columns: Sequence[str] | None = None,
        everybody: Table | None = None,
        beside: OfUsers | None = None,
    ) -> int:
        made = function(_columns(read, exchange_dir, columns))
        if everybody is not None:
            users = everybody.read(exchange_dir, None if beside else [Columns.USER])
            made = for_everybody(made, users[Columns.USER], written.columns)
            if beside is not None:
                made = beside(users).merge(made, on=Columns.USER, validate="1:1")
        written.write(exchange_dir, made)
        return len(made)

    def counts(
        self, exchange_dir: Path, read: Table, function: OfUsers, keys: Keys, *, columns: Sequence[str] | None = None
    ) -> pd.DataFrame:
        return added_up(function(_columns(read, exchange_dir, columns)), keys)


@dataclass(frozen=True)
class PandasBeside:
    """See `contract.BesideModels`."""

    exchange_dir: Path

    def pairs(self, _: int) -> None:
        return None

    def training_lists(self, asked: ListsAsked, teachers: Sequence[Channel], inputs: Inputs) -> ListsMade:
        lists = asked.recalled(inputs.data, inputs.profiles, teachers)
        artifacts.LISTS.write(self.exchange_dir, lists.table(inputs.data.userids))
        return ListsMade(len(lists), asked.size, int(lists.liked.sum()))

    def features_of_lists(self, inputs: Inputs) -> None:
        artifacts.USER_FEATURES.write(self.exchange_dir, user_statistics(inputs.data, inputs.users))
        artifacts.ITEM_FEATURES.write(self.exchange_dir, item_statistics(inputs.data, inputs))

    def features_of_pairs(self, made: RatedPairs) -> None:
        artifacts.USER_FEATURES.write(self.exchange_dir, made.user_features)
        artifacts.ITEM_FEATURES.write(self.exchange_dir, made.item_features)


def _columns(table: Table, exchange_dir: Path, columns: Sequence[str] | None) -> pd.DataFrame:
    return table.read(exchange_dir, None if columns is None else list(columns))
