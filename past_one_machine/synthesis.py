"""Make a larger data set of the same structure out of the one at hand: ``make synthesise factor=16``.

Belletti et al. 2019 (*Scalable Realistic Recommendation Datasets through Fractal Expansions*, arXiv:1901.08910), whose
expansion of MovieLens-20M is MLPerf's data, take the Kronecker product of the users-by-items matrix R with a small copy
of R. Entry (i, j) of the small matrix K says how densely block (i, j) of the large one, a copy of R with users and
items of its own, is filled: what holds between users and items holds between groups of them, too.

Here each row of K sums to one, and is read as a distribution: user (i, u) of the large data set does what user u of the
small one did, at the same times, and each event is with one of the copies j of its item, drawn from K[i]. So a user
keeps length, sessions, ratings and genres, an expansion by a factor has exactly that many times the events, and what
the product adds is on the items' side: a copy of an item is as popular as the item times its group, a longer tail.

User u of copy i has the number i * users + u + 1, item v of copy j j * items + v + 1, u and v in the order of their
numbers in the source. Memory holds the source and the events of one copy, however large the expansion is.

Reads:  RECSYS_DATA, or what the first step has put into offline/raw
Writes: folder=, or offline/synthetic/<name>-x<factor> in the exchange folder: the files that step 0 writes
Run:    make synthesise factor=16, then make offline RECSYS_DATA=<the folder that it prints>
Expect: 16,003,344 events (MovieLens-1M)
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from data_exchange_center import artifacts
from data_exchange_center.columns import Columns
from data_exchange_center.dataset import MAX_INTEGER, Dataset
from data_exchange_center.files import sha256
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError, progress, run
from offline import movielens
from offline.preprocess import s0_get_data
from past_one_machine.spark.users import folder_written_in_place

SEED: Final = 20
Ints = NDArray[np.integer]
Floats = NDArray[np.float64]


def main(settings: Settings, factors: Factors, folder: Path | None, seed: int) -> None:
    path = at_hand(settings)
    source = Source.of(path)
    name = f"{source.dataset.base_name}-x{factors.users}"
    target = (folder or settings.offline_dir / "synthetic" / name).absolute()
    if target.is_relative_to(path.absolute()):
        raise StepError(
            f"{target} is inside the folder of the data set itself: name another with folder=."
        )
    events = expand(source, factors, target, name, seed)
    print(  # noqa: T201
        f"Written: {events:,} events to {target}. To train on them: make offline RECSYS_DATA={target}"
    )


def at_hand(settings: Settings) -> Path:
    """Path of the data set at hand. Raises StepError if there is none."""
    path = settings.data or settings.offline_dir / "raw"
    if settings.data is None and not path.is_dir():
        raise StepError(
            f"there is no data set in {path}: name one in RECSYS_DATA, or run offline/preprocess/s0_get_data.py."
        )
    return path


# The expansion.


@dataclass(frozen=True)
class Factors:
    """Numbers of copies of the users, and with them of the events, and of the items."""

    users: int
    items: int

    @classmethod
    def of(cls, users: int, items: int | None = None) -> Factors:
        """``items``: default: the square root of ``users``, as a data set that grows gains more users than items.

        Raises StepError for a factor below the minimum.
        """
        if users < 2:
            raise StepError(
                f"factor={users}: a whole number of at least 2 is expected."
            )
        items = round(users**0.5) if items is None else items
        if items < 1:
            raise StepError(f"items={items}: a whole number of at least 1 is expected.")
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
            return cls(dataset, *(table.read(Path(folder)) for table in artifacts.RAW))


def expand(
    source: Source, factors: Factors, folder: Path, name: str, seed: int = SEED
) -> int:
    """Write the expansion into ``folder``, which appears when it is whole, and return the number of its events.

    Raises StepError for a source that cannot be expanded so far, and for a folder that is there already.
    """
    if folder.exists():
        raise StepError(
            f"{folder} is there already: name another folder=, or remove it."
        )
    _require_memory(source, factors)
    users, items = len(source.users), len(source.items)
    # places of users and items in the source, by event; the events are sorted by user and time
    of_users = np.searchsorted(
        source.users[Columns.USER].to_numpy(), source.ratings[Columns.USER].to_numpy()
    )
    of_items = np.searchsorted(
        source.items[Columns.ITEM].to_numpy(), source.ratings[Columns.ITEM].to_numpy()
    )
    # (copies of users, of items)
    shares = coarse(of_users, of_items, factors.users, factors.items)

    def events() -> Iterator[pa.RecordBatch]:
        for copy in progress(range(factors.users), "events", unit="part"):
            random = np.random.default_rng([seed, copy])
            # (events,) copies of items
            chosen = copies(shares[copy], len(of_items), random)
            columns = {
                Columns.USER: (copy * users + of_users + 1).astype(np.int32),
                Columns.ITEM: (chosen * items + of_items + 1).astype(np.int32),
                Columns.RATING: source.ratings[Columns.RATING].to_numpy(),
                Columns.TIMESTAMP: source.ratings[Columns.TIMESTAMP].to_numpy(),
            }
            yield pa.record_batch(columns, schema)

    schema = pa.schema(list(artifacts.RAW_INTERACTIONS.columns.items()))
    with folder_written_in_place(folder) as temporary:
        artifacts.RAW_INTERACTIONS.write(
            temporary, pa.RecordBatchReader.from_batches(schema, events())
        )
        artifacts.RAW_USERS.write(
            temporary, _copied(source.users, Columns.USER, factors.users)
        )
        artifacts.RAW_ITEMS.write(
            temporary, _copied(source.items, Columns.ITEM, factors.items)
        )
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
                "sha256": {
                    Path(table.path).name: sha256(table.at(temporary))
                    for table in artifacts.RAW
                },
                "user_ids": "integer",
                "item_ids": "integer",
            }
        )
        artifacts.DATASET.write(temporary, described.model_dump(mode="json"))
    return sizes["ratings"]


def coarse(users: Ints, items: Ints, user_groups: int, item_groups: int) -> Floats:
    """(user_groups, item_groups) the share of each group of users' events that is with each group of items.

    Items are grouped by popularity, users by how far down the popularity ranking they choose, both in groups of equal
    size, the most popular first. An empty group of users (fewer users than groups) gets the shares of all users.

    Args:
        users, items: (events,) their places, from 0.
    """
    by_popularity = np.argsort(-np.bincount(items), kind="stable")
    group = np.empty(len(by_popularity), np.int64)
    for number, members in enumerate(np.array_split(by_popularity, item_groups)):
        group[members] = number
    counts = np.zeros((int(users.max()) + 1, item_groups))
    np.add.at(counts, (users, group[items]), 1)
    total = counts.sum(axis=1)
    active = np.flatnonzero(total)
    depth = counts[active] @ np.arange(item_groups) / total[active]
    order = active[np.argsort(depth, kind="stable")]
    everybody = counts.sum(axis=0) / total.sum()
    found = [counts[some].sum(axis=0) for some in np.array_split(order, user_groups)]
    return np.array([row / row.sum() if row.sum() else everybody for row in found])


def copies(
    shares: Floats, events: int, random: np.random.Generator
) -> NDArray[np.int64]:
    """Draw the copy of its item for each event, (events,); ``shares``: a row of the small matrix."""
    drawn = np.searchsorted(np.cumsum(shares), random.random(events), side="right")
    return np.minimum(drawn, len(shares) - 1)  # a sum of shares may end just below one


def _require_memory(source: Source, factors: Factors) -> None:
    """Raise StepError where the source is too small for the factors, or its ids would run over."""
    if factors.items > len(source.items):
        raise StepError(
            f"items={factors.items}: the data set has {len(source.items):,} items, and at most so many."
        )
    for what, times, table in (
        ("factor", factors.users, source.users),
        ("items", factors.items, source.items),
    ):
        if times * len(table) > MAX_INTEGER:
            raise StepError(
                f"{what}={times}: at most {MAX_INTEGER // len(table):,}, or ids run over."
            )


def _copied(table: pd.DataFrame, key: str, times: int) -> pd.DataFrame:
    """Repeat a table, with new ids. A copied item's title says which copy it is: ``Toy Story, copy 2``."""
    made = pd.concat([table] * times, ignore_index=True)
    made[key] = np.arange(1, len(made) + 1, dtype=np.int32)
    if Columns.TITLE in table:
        # an item without a title is called by its id
        named = table[Columns.TITLE] != table[Columns.OWN_ID]
        parts = [
            table[Columns.TITLE] + (f", copy {copy + 1}" if copy else "")
            for copy in range(times)
        ]
        titles = pd.concat([part.where(named) for part in parts], ignore_index=True)
        made[Columns.TITLE] = titles.fillna(made[key].astype(str))
    return made.assign(**{Columns.OWN_ID: made[key].astype(str)})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--factor", type=int, help="so many times the users and the events"
    )
    parser.add_argument(
        "--items",
        type=int,
        help="so many times the items; left out: the root of the factor",
    )
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--seed", type=int, default=SEED)
    given = parser.parse_args()
    if given.factor is None:
        parser.error("name a factor: make synthesise factor=16")
    run(
        lambda settings: main(
            settings, Factors.of(given.factor, given.items), given.folder, given.seed
        )
    )
