"""A larger data set of the same structure, written as step 0 writes data sets, a copy of the users at a time.

User u of copy i has the number i * users + u + 1, item v of copy j j * items + v + 1, u and v in the order of their
numbers in the source. Times, ratings and attributes are the source's own. Memory holds the source and the events of one
copy, however large the expansion is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np
import pandas as pd
import pyarrow as pa

from data_exchange_center import artifacts
from data_exchange_center.columns import Columns
from data_exchange_center.dataset import MAX_INTEGER, Dataset
from data_exchange_center.files import folder_written_in_place, sha256
from data_exchange_center.steps import StepError, progress
from offline import movielens, published
from offline.preprocess import s0_get_data
from past_one_machine.synthesis.kronecker import coarse, copies

SEED: Final = 20


@dataclass(frozen=True)
class Factors:
    """How many copies of the users, and with them of the events, and how many of the items."""

    users: int
    items: int

    @classmethod
    def of(cls, users: int, items: int | None = None) -> Factors:
        """``items``: left out, the root of ``users``: a data set that has grown has more users, and some more items.

        Raises StepError for what is no expansion.
        """
        if users < 2:
            raise StepError(f"factor={users}: at least 2 is needed, a whole number; factor=1 is the data set itself.")
        items = round(users**0.5) if items is None else items
        if items < 1:
            raise StepError(f"items={items}: at least 1 is needed, a whole number.")
        return cls(users, items)


@dataclass(frozen=True)
class Source:
    """A data set in standard form: its description, and its tables as `artifacts.RAW`."""

    dataset: Dataset
    ratings: pd.DataFrame
    users: pd.DataFrame
    items: pd.DataFrame

    @classmethod
    def of(cls, path: Path) -> Source:
        """Read a data set as step 0 does. Raises StepError where it is none, or not as it should be."""
        with TemporaryDirectory() as folder, movielens.files_of(path) as files:
            dataset = s0_get_data.read(files, path, Path(folder))
            if dataset.name == movielens.NAME:
                dataset = dataset.model_copy(update={"name": published.name_of(dataset.counts)})
            return cls(dataset, *(table.read(Path(folder)) for table in artifacts.RAW))


def expand(source: Source, factors: Factors, folder: Path, name: str, seed: int = SEED) -> int:
    """Write the expansion into ``folder``, which appears when it is whole, and return the number of its events.

    Raises StepError for a source that cannot be expanded so far, and for a folder that is there already.
    """
    if folder.exists():
        raise StepError(f"{folder} is there already: name another folder=, or remove it.")
    _expect_room(source, factors)
    users, items = len(source.users), len(source.items)
    # places of users and items in the source, by event; the events are sorted by user and time
    of_users = np.searchsorted(source.users[Columns.USER].to_numpy(), source.ratings[Columns.USER].to_numpy())
    of_items = np.searchsorted(source.items[Columns.ITEM].to_numpy(), source.ratings[Columns.ITEM].to_numpy())
    shares = coarse(lambda: [(of_users, of_items)], factors.users, factors.items)  # (copies of users, of items)

    def events() -> Iterator[pa.RecordBatch]:
        for copy in progress(range(factors.users), "events", unit="part"):
            random = np.random.default_rng([seed, copy])
            chosen = copies(shares[copy], len(of_items), random)  # (events,) copies of items
            columns = {
                Columns.USER: (copy * users + of_users + 1).astype(np.int32),
                Columns.ITEM: (chosen * items + of_items + 1).astype(np.int32),
                Columns.RATING: source.ratings[Columns.RATING].to_numpy(),
                Columns.TIMESTAMP: source.ratings[Columns.TIMESTAMP].to_numpy(),
            }
            yield pa.record_batch(columns, schema)

    schema = pa.schema(list(artifacts.RAW_INTERACTIONS.columns.items()))
    with folder_written_in_place(folder) as temporary:
        artifacts.RAW_INTERACTIONS.write(temporary, pa.RecordBatchReader.from_batches(schema, events()))
        artifacts.RAW_USERS.write(temporary, _copied(source.users, Columns.USER, factors.users))
        artifacts.RAW_ITEMS.write(temporary, _copied(source.items, Columns.ITEM, factors.items))
        sizes = {
            "ratings": len(of_users) * factors.users,
            "users": users * factors.users,
            "items": items * factors.items,
        }
        described = source.dataset.model_copy(
            update={
                "name": name,
                "origin": f"{source.dataset.name}, expanded",
                "counts": {**source.dataset.counts, **sizes},
                "sha256": {Path(table.path).name: sha256(table.at(temporary)) for table in artifacts.RAW},
                "user_ids": "integer",
                "item_ids": "integer",
            }
        )
        artifacts.DATASET.write(temporary, described.model_dump(mode="json"))
    return sizes["ratings"]


def _expect_room(source: Source, factors: Factors) -> None:
    """Raise StepError where the source is too small for the factors, or its ids would run over."""
    if factors.items > len(source.items):
        raise StepError(f"items={factors.items}: the data set has {len(source.items):,} items, and at most so many.")
    for what, times, table in (("factor", factors.users, source.users), ("items", factors.items, source.items)):
        if times * len(table) > MAX_INTEGER:
            raise StepError(f"{what}={times}: at most {MAX_INTEGER // len(table):,}, or ids run over.")


def _copied(table: pd.DataFrame, key: str, times: int) -> pd.DataFrame:
    """A table so many times, with new ids. A copied item's title says which copy it is: ``Toy Story, copy 2``."""
    made = pd.concat([table] * times, ignore_index=True)
    made[key] = np.arange(1, len(made) + 1, dtype=np.int32)
    if Columns.TITLE in table:
        named = table[Columns.TITLE] != table[Columns.OWN_ID]  # an item without a title is called by its id
        parts = [table[Columns.TITLE] + (f", copy {copy + 1}" if copy else "") for copy in range(times)]
        titles = pd.concat([part.where(named) for part in parts], ignore_index=True)
        made[Columns.TITLE] = titles.fillna(made[key].astype(str))
    return made.assign(**{Columns.OWN_ID: made[key].astype(str)})
