"""The engine Spark: see `contract` for what each method does.

The driver reads what the data set lists of users and items, which is a row for each; events, which are a hundred times
as many, never reach it. Of the events it collects counts, and the distinct values that they have.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812
from pyspark.storagelevel import StorageLevel

from data_exchange_center import artifacts
from data_exchange_center.artifact_kinds import Table
from data_exchange_center.columns import Columns
from data_exchange_center.dataset import Dataset
from data_exchange_center.files import parts_of
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from offline.data.sanity import Counted
from offline.data.whole_users import USERS as COUNT
from offline.data.whole_users import Keys, OfUsers, added_up
from offline.engines.spark import events, split, whole_users
from offline.engines.spark.identifiers import Ids
from offline.engines.spark.session import session
from offline.ingestion.declaration import INTERACTIONS, ITEMS, USERS, Declaration
from offline.ingestion.events import MOST_OF_ONE_USER, no_events, too_many
from offline.ingestion.identifiers import Numbering, Register
from offline.ingestion.ingest import described, expect_enough, items_table, users_table
from offline.ingestion.levels import Scale
from offline.ingestion.listed import Catalogue, Profile, read_items, read_users
from offline.ingestion.sources import Source

MOST_VALUES: Final = 1_000_000  # distinct values of events, which the driver looks at to cut levels


@dataclass(frozen=True)
class SparkTables:
    """See `contract.SplitTables`. ``users``: a pandas table where the data set lists them."""

    ratings: DataFrame
    users: pd.DataFrame | DataFrame
    items: pd.DataFrame

    def counted(self) -> Counted:
        return split.counted(self.ratings)

    def write(self, exchange_dir: Path) -> None:
        write_parts(artifacts.RATINGS, exchange_dir, self.ratings)
        if isinstance(self.users, pd.DataFrame):
            artifacts.USERS.write(exchange_dir, self.users)
        else:
            write_parts(artifacts.USERS, exchange_dir, self.users)
        artifacts.ITEMS.write(exchange_dir, self.items)


def write_parts(artifact: Table, exchange_dir: Path, table: DataFrame) -> None:
    """In parts. Spark keeps what a task has written apart until the task has ended well, so a part is there once."""
    with artifact.in_parts(exchange_dir) as folder:
        table.write.mode("overwrite").parquet(folder.as_uri())


@dataclass(frozen=True)
class SparkIngested:
    """See `contract.Ingested`, and `contract.Joined`: what servers were told does not join here yet."""

    numbered: DataFrame
    users: pd.DataFrame | DataFrame
    items: pd.DataFrame
    dataset: Dataset
    scale: Scale
    span: tuple[int, int]
    partitions: int

    def join(self, recorded: pd.DataFrame) -> SparkIngested:
        if len(recorded):
            raise StepError(
                f"servers were told {len(recorded):,} events of this data set, and they join it with "
                "RECSYS_ENGINE=pandas alone."
            )
        return self

    def split(self, dataset: Dataset, train_share: float) -> SparkTables:
        ratings = split.label_and_split(self.numbered, dataset, self.scale, train_share, self.partitions)
        return SparkTables(ratings.persist(StorageLevel.DISK_ONLY), self.users, self.items)


class SparkEngine:
    """See `contract.Engine`."""

    def __init__(self, spark: SparkSession, partitions: int) -> None:
        self.spark, self.partitions = spark, partitions

    def ingest(self, source: Source) -> SparkIngested:
        self.spark.catalog.clearCache()  # it goes by the name of a file, which may have changed since
        declared, rows = source.declaration, source.tables[INTERACTIONS]
        users, items, profile, catalogue = Register(), Register(), Profile(), Catalogue()
        if declared.users:
            profile = read_users(source.tables[USERS], declared.users, users)
        if declared.items:
            catalogue = read_items(source.tables[ITEMS], declared.items, items)
        read = events.read(self.spark, rows, declared.interactions).persist(StorageLevel.DISK_ONLY)
        events.expect_readable(read)
        count, span, met = self._looked_at(read, source)
        expect_enough(USERS, met, rows.name)
        if not declared.items:
            items.enter(_column(read.select("item").distinct(), "item"))
        expect_enough(ITEMS, len(items), source.tables[ITEMS].name if declared.items else rows.name)
        of_users = (
            Ids.of_register(self.spark, users, listed=True)
            if declared.users
            else Ids.of_events(read.select(F.col("user").alias("own_id")))
        )
        of_items = Ids.of_register(self.spark, items, listed=declared.items is not None)
        numbered = of_users.numbered(read, "user", Columns.USER, small=False)
        numbered = of_items.numbered(numbered, "item", Columns.ITEM, small=True)
        for ids, own, number, table in (
            (of_users, "user", Columns.USER, USERS),
            (of_items, "item", Columns.ITEM, ITEMS),
        ):
            if ids.listed:
                events.expect_listed(numbered, own, number, ids, source, table)
        scale = _scale(read, declared)
        counts = {"ratings": count, "users": len(users) if declared.users else met, "items": len(items)}
        kinds = {"user_ids": of_users.kind, "item_ids": of_items.kind}
        return SparkIngested(
            numbered=numbered,
            users=users_table(Numbering.of(users), profile) if declared.users else self._users(numbered),
            items=items_table(Numbering.of(items), catalogue),
            dataset=described(declared, counts, kinds, scale, profile, catalogue),
            scale=scale,
            span=span,
            partitions=self.partitions,
        )

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
        declared = pa.schema(written.columns)
        made = whole_users.mapped(self.spark, read, exchange_dir, columns, function, declared)
        if everybody is not None:
            paths = [path.as_uri() for path in parts_of(everybody.require(exchange_dir))]
            users = self.spark.read.parquet(*paths).select(Columns.USER)
            if beside is not None:
                users = whole_users.mapped(self.spark, everybody, exchange_dir, None, beside, declared)
            lists = {name for name, kind in written.columns.items() if pa.types.is_list(kind)}
            joined = users.join(made, Columns.USER, "left").na.fill(0)
            filled = [F.coalesce(name, F.array()).alias(name) if name in lists else name for name in joined.columns]
            made = self._by_user(joined.select(*filled))
        write_parts(written, exchange_dir, made)
        return sum(pq.read_metadata(part).num_rows for part in parts_of(written.at(exchange_dir)))

    def counts(
        self, exchange_dir: Path, read: Table, function: OfUsers, keys: Keys, *, columns: Sequence[str] | None = None
    ) -> pd.DataFrame:
        schema = pa.schema([*keys.items(), (COUNT, pa.int64())])
        counted = whole_users.mapped(self.spark, read, exchange_dir, columns, function, schema)
        return added_up(counted.groupBy(*keys).agg(F.sum(COUNT).alias(COUNT)).toPandas(), keys)

    def _by_user(self, table: DataFrame) -> DataFrame:
        """In parts that lie in the order of users."""
        return table.repartitionByRange(self.partitions, Columns.USER).sortWithinPartitions(Columns.USER)

    def _looked_at(self, read: DataFrame, source: Source) -> tuple[int, tuple[int, int], int]:
        """How many events, from when to when, of how many users. Raises StepError for none, or too many of one user."""
        of_users = read.groupBy("user").agg(
            F.count("*").alias("n"), F.min("micro").alias("a"), F.max("micro").alias("b")
        )
        most = F.max(F.struct("n", "user"))
        found = of_users.agg(F.sum("n"), F.min("a"), F.max("b"), F.count("*"), most).first()
        name = source.tables[INTERACTIONS].name
        if found is None or found[0] is None:
            raise no_events(name)
        count, oldest, newest, users, (most_events, user) = found
        if most_events > MOST_OF_ONE_USER:
            raise too_many(name, source.declaration.interactions.user, user)
        return count, (oldest // 1_000_000, newest // 1_000_000), users

    def _users(self, numbered: DataFrame) -> DataFrame:
        """`artifacts.USERS` of a data set that lists none."""
        users = numbered.select(Columns.USER, F.col("user").alias(Columns.OWN_ID)).distinct()
        return self._by_user(users)


def _column(table: DataFrame, name: str) -> pa.Array:
    """A column of a table that does not grow with users."""
    return pa.array([row[name] for row in table.toLocalIterator()], pa.string())


def _scale(read: DataFrame, declared: Declaration) -> Scale:
    above = declared.interactions.positive_above
    if declared.interactions.value is None or above is None:
        return Scale.without_values()
    counted = read.groupBy("value").count().orderBy("value").limit(MOST_VALUES + 1).collect()
    if len(counted) > MOST_VALUES:
        raise StepError(
            f"column {declared.interactions.value!r} has more than {MOST_VALUES:,} different values, from which no "
            "levels can be cut: round them, or declare levels."
        )
    distinct = np.array([row["value"] for row in counted], dtype=np.float64)
    return Scale.of(distinct, np.array([row["count"] for row in counted]), above, declared.interactions.levels or ())


@contextmanager
def started(settings: Settings) -> Iterator[SparkEngine]:
    """An engine with a session of its own."""
    with session(settings.spark) as spark:
        yield SparkEngine(spark, settings.spark.partitions)
