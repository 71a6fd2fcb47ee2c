"""Labels and split as a Spark job: one shuffle, by ranges of users, so that the parts lie in the order of the table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F  # noqa: N812

from data_exchange_center.artifacts import RATINGS
from data_exchange_center.columns import Columns, Split
from data_exchange_center.dataset import Dataset
from offline.data.sanity import Counted
from offline.data.split import labels, part_of
from offline.ingestion.levels import Scale

SCHEMA: Final = "userid int, itemid int, rating tinyint, timestamp long, label tinyint, split string"
ARROW: Final = pa.schema(list(RATINGS.columns.items()))


def label_and_split(
    events: DataFrame, dataset: Dataset, scale: Scale, train_share: float, partitions: int
) -> DataFrame:
    """Events -> `RATINGS`, in its order: by user and time, of the same time as they stand in the files.

    A partition holds whole users, and its rows pass by in batches: what it holds at once is one batch, and of a user's
    rows what Spark spills where they are many.

    Args:
        events: userid, itemid, value, micro, part, row.
    """
    of_user = Window.partitionBy(Columns.USER)
    placed = (
        events.select(Columns.USER, Columns.ITEM, "value", "micro", "part", "row")
        .repartitionByRange(partitions, Columns.USER)
        .withColumn("size", F.count("*").over(of_user))
        .withColumn("position", F.row_number().over(of_user.orderBy("micro", "part", "row")) - 1)
        .sortWithinPartitions(Columns.USER, "position")
        .select(Columns.USER, Columns.ITEM, "value", "micro", "position", "size")
    )

    def finished(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            users, items, values, micro, position, size = batch.columns
            codes = scale.codes(values.to_numpy(zero_copy_only=False))
            split = part_of(_longs(position), _longs(size), dataset, train_share)
            yield pa.record_batch(
                [
                    users,
                    items,
                    pa.array(codes),
                    pa.array(_longs(micro) // 1_000_000),
                    pa.array(labels(codes, dataset)),
                    pa.array(split.tolist(), pa.string()),
                ],
                schema=ARROW,
            )

    return placed.mapInArrow(finished, SCHEMA)


def _longs(column: pa.Array) -> NDArray[np.int64]:
    numbers: NDArray[np.int64] = column.to_numpy(zero_copy_only=False).astype(np.int64)
    return numbers


def counted(ratings: DataFrame) -> Counted:
    """As `offline.data.sanity.counted`."""
    held_out = F.col(Columns.SPLIT) == Split.HOLDOUT
    parts = (Split.TRAIN, Split.TEST, Split.HOLDOUT)
    of_users = ratings.groupBy(Columns.USER).agg(
        F.count("*").alias("events"),
        F.sum(Columns.LABEL).alias("liked"),
        F.sum(_one(~held_out)).alias("past"),
        F.sum(_one(~held_out & (F.col(Columns.LABEL) == 1))).alias("past_liked"),
        *(F.sum(_one(F.col(Columns.SPLIT) == part)).alias(part) for part in parts),
        F.min(F.when(~held_out, F.col(Columns.TIMESTAMP))).alias("first"),
        F.min(F.when(held_out, F.col(Columns.TIMESTAMP))).alias("asked"),
    )
    seen = F.col("first") < F.coalesce("asked", F.lit(np.iinfo(np.int64).max))  # as `as_of.happened`
    summed = ("events", "liked", "past", "past_liked", *parts)
    found = of_users.agg(
        F.count("*").alias("users"),
        *(F.sum(name).alias(name) for name in summed),
        F.sum(_one(F.col("events") == 1)).alias("single"),
        F.sum(_one(F.col("past") > 0)).alias("with_past"),
        F.max("past").alias("longest_past"),
        F.sum(_one(F.coalesce(seen, F.lit(False)))).alias("known"),
    ).first()
    counts = {name: int(count) for name, count in found.asDict().items()} if found is not None else {}
    there = {part: counts.pop(part) for part in parts}
    return Counted(**counts, parts={part: count for part, count in there.items() if count})


def _one(condition: Column) -> Column:
    return F.when(condition, 1).otherwise(0)
