"""What an engine does for the steps: tables of any size in, artifacts out.

An engine is asked in the order of the pipeline, and hands out what it keeps in its own form: `Engine.ingest` reads a
data set, `Ingested.join` adds what servers were told, `Joined.split` labels and splits, `SplitTables.write` leaves the
artifacts. What is computed of these, a user at a time, is a function that the step names: `Engine.of_users` leaves an
artifact, `Engine.counts` adds up. A step sees counts alone. Steps that train run where the models are, and ask
`BesideModels`. What a label, a holdout, a level or a statistic *is* stands
in `offline.data` and `offline.ingestion`, in functions of arrays that every engine calls.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import pandas as pd

from data_exchange_center.artifact_kinds import Table
from data_exchange_center.channels import Channel
from data_exchange_center.dataset import Dataset
from offline.data.lists import ListsAsked, ListsMade
from offline.data.samples import RatedPairs
from offline.data.sanity import Counted
from offline.data.sequences import Inputs, PairsElsewhere
from offline.data.whole_users import Keys, OfUsers
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


class BesideModels(Protocol):
    """What an engine does for a step that trains models, which runs in the project's own environment."""

    def pairs(self, items: int) -> PairsElsewhere | None:
        """What counts pairs of ``items`` items in all that is not held out; None: who asks does."""
        ...

    def training_lists(self, asked: ListsAsked, teachers: Sequence[Channel], inputs: Inputs) -> ListsMade:
        """`artifacts.LISTS`, as ``asked``: what the teachers recall in all that is not held out.

        Raises StepError when no list holds anything that was liked.
        """
        ...

    def features_of_lists(self, inputs: Inputs) -> None:
        """`artifacts.USER_FEATURES` and `artifacts.ITEM_FEATURES` of a ranker of lists: what is known of users and of
        items at the end of all that is not held out."""
        ...

    def features_of_pairs(self, made: RatedPairs) -> None:
        """The same of the source's ranker: profiles, genres, newest terms."""
        ...


class Engine(Protocol):
    """Where the steps' work is done."""

    def ingest(self, source: Source) -> Ingested:
        """Raises StepError where the tables are not as declared, naming file, line and column."""
        ...

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
        """What ``function`` says of the users of ``read``, in its order, as ``written``; how many rows that are.

        Args:
            columns: of ``read``; None: all.
            everybody: a table with a row for each user; there is one for each then, in its order: zeros and empty lists
                for those whom ``function`` leaves out.
            beside: what the rows of ``everybody`` say themselves, a row for each: columns that are put beside.
        """
        ...

    def counts(
        self, exchange_dir: Path, read: Table, function: OfUsers, keys: Keys, *, columns: Sequence[str] | None = None
    ) -> pd.DataFrame:
        """What ``function`` counts of the users of ``read``, `whole_users.added_up`: at most a row for each value that
        the ``keys`` have, which must not grow with the users."""
        ...
