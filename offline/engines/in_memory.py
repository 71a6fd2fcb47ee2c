"""The engine of a laptop: pandas, all of a table in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from data_exchange_center import artifacts
from data_exchange_center.columns import Columns
from data_exchange_center.dataset import Dataset
from offline.data import terms
from offline.data.sanity import Counted, counted
from offline.data.split import label_and_split
from offline.ingestion import ingest, recorded
from offline.ingestion.recorded import Told
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
        return PandasJoined(recorded.join(self.data, events))


class PandasEngine:
    """See `contract.Engine`."""

    def ingest(self, source: Source) -> PandasIngested:
        return PandasIngested(ingest.ingest(source.declaration, source.tables))

    def terms(self, exchange_dir: Path, item_terms: pd.DataFrame, genres: Sequence[str], window: int) -> int:
        ratings = artifacts.RATINGS.read(exchange_dir, list(terms.COUNTED_FROM))
        before = terms.impression_terms(ratings, item_terms, genres, window)
        newest = terms.user_terms(ratings, item_terms, genres, window).set_index(Columns.USER)
        users = artifacts.USERS.read(exchange_dir, [Columns.USER])
        served = newest.reindex(users[Columns.USER], fill_value=np.int8(0)).reset_index()
        artifacts.IMPRESSION_TERMS.write(exchange_dir, before)
        artifacts.USER_TERMS.write(exchange_dir, served)
        return len(before)
