"""What an engine does for the steps: tables of any size in, artifacts out.

An engine is asked in the order of the pipeline, and hands out what it keeps in its own form: `Engine.ingest` reads a
data set, `Ingested.join` adds what servers were told, `Joined.split` labels and splits, `SplitTables.write` leaves the
artifacts. A step sees counts alone. What a label, a holdout or a level *is* stands in `offline.data` and
`offline.ingestion`, in functions of arrays that every engine calls.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import pandas as pd

from data_exchange_center.dataset import Dataset
from offline.data.sanity import Counted
from offline.ingestion.recorded import Told
from offline.ingestion.sources import Source


class SplitTables(Protocol):
    """Ratings, labelled and split, users and items."""

    def counted(self) -> Counted:
        """What a step checks before anything is written."""
        ...

    def write(self, exchange_dir: Path) -> None:
        """`artifacts.RATINGS`, `artifacts.USERS` and `artifacts.ITEMS`, each whole or not at all."""
        ...


class Joined(Protocol):
    """The data set with the events that servers were told."""

    @property
    def dataset(self) -> Dataset: ...

    @property
    def told(self) -> Told:
        """What has become of these events."""
        ...

    def split(self, dataset: Dataset, train_share: float) -> SplitTables:
        """Labels, and who may see which row, as `offline.data.split.label_and_split` defines it."""
        ...


class Ingested(Protocol):
    """A data set, read and numbered."""

    @property
    def dataset(self) -> Dataset:
        """Without origin and files, which only who brought them knows."""
        ...

    @property
    def span(self) -> tuple[int, int]:
        """Seconds of the oldest and of the newest event."""
        ...

    def join(self, recorded: pd.DataFrame) -> Joined:
        """``recorded``: as `artifacts.EVENTS`."""
        ...


class Engine(Protocol):
    """Where the steps' work is done."""

    def ingest(self, source: Source) -> Ingested:
        """Raises StepError where the tables are not as declared, naming file, line and column."""
        ...

    def terms(self, exchange_dir: Path, item_terms: pd.DataFrame, genres: Sequence[str], window: int) -> int:
        """From `artifacts.RATINGS` and `artifacts.USERS` to `artifacts.IMPRESSION_TERMS`, as `terms.impression_terms`
        defines it, and `artifacts.USER_TERMS`, `terms.user_terms` with zeros for a user who has no past.

        How many rows the first has.
        """
        ...
