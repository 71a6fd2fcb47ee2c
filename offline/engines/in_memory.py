"""The data set in memory: read, joined with what servers were told, split."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from data_exchange_center import artifacts
from data_exchange_center.columns import Columns
from data_exchange_center.dataset import Dataset
from offline.data.sanity import Counted, counted
from offline.data.split import label_and_split
from offline.engines.room import expect_room
from offline.ingestion import ingest, recorded
from offline.ingestion.declaration import INTERACTIONS
from offline.ingestion.recorded import Told
from offline.ingestion.sources import Source


@dataclass(frozen=True)
class PandasTables:
    """Ratings, labelled and split, users and items."""

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
    """The data set with the events that servers were told."""

    joined: recorded.Joined

    @property
    def dataset(self) -> Dataset:
        return self.joined.data.dataset

    @property
    def told(self) -> Told:
        return self.joined.told

    def split(self, dataset: Dataset, train_share: float) -> PandasTables:
        data = self.joined.data
        return PandasTables(label_and_split(data.ratings, dataset, train_share, self.joined.recorded), data)


@dataclass(frozen=True)
class PandasIngested:
    """A data set, read and numbered."""

    data: ingest.Ingested

    @property
    def dataset(self) -> Dataset:
        return self.data.dataset

    @property
    def span(self) -> tuple[int, int]:
        times = self.data.ratings[Columns.TIMESTAMP]
        return int(times.min()), int(times.max())

    def join(self, events: pd.DataFrame) -> PandasJoined:
        return PandasJoined(recorded.join(self.data, events))


class PandasEngine:
    """Reads all of a data set. ``memory_gb``: that it may take; what needs more is refused."""

    def __init__(self, memory_gb: float = math.inf) -> None:
        self.memory_gb = memory_gb

    def ingest(self, source: Source) -> PandasIngested:
        expect_room(source.tables[INTERACTIONS], self.memory_gb)
        return PandasIngested(ingest.ingest(source.declaration, source.tables))
