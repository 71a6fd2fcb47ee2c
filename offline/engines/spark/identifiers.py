"""Numbers for own ids, by the rule of `offline.ingestion.identifiers.Numbering`, where nobody may hold all ids."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from data_exchange_center.dataset import IdKind
from data_exchange_center.own_ids import MAX_INTEGER
from offline.ingestion.identifiers import Numbering, Register

_NUMBER = r"^-?(0|[1-9][0-9]*)\z"


@dataclass(frozen=True)
class Ids:
    """The ids of users or items.

    Attributes:
        table: own_id, number; None where an own id is its number and nothing lists them.
        listed: whether a table of the data set lists them, so that others are an error.
    """

    kind: IdKind
    table: DataFrame | None
    listed: bool

    @classmethod
    def of_register(cls, spark: SparkSession, register: Register, listed: bool) -> Ids:
        """Ids that the driver knows."""
        numbering = Numbering.of(register)
        columns = {
            "own_id": pa.array(numbering.own_ids, pa.string()),
            "number": pa.array(numbering.numbers, pa.int32()),
        }
        return cls(numbering.kind, spark.createDataFrame(pa.table(columns).to_pandas()), listed)

    @classmethod
    def of_events(cls, own_ids: DataFrame) -> Ids:
        """Those of a column ``own_id``, which may hold them many times."""
        ids = own_ids.distinct()
        own_id, length = F.col("own_id"), F.length("own_id")
        is_number = own_id.rlike(_NUMBER)
        largest = str(MAX_INTEGER)
        fits = (length < len(largest)) | ((length == len(largest)) & (own_id <= largest))
        is_id = is_number & ~own_id.startswith("-") & (own_id != "0") & fits
        whole, integer = ids.agg(F.min(is_number), F.min(is_id)).first() or (False, False)
        if integer:
            return cls("integer", None, listed=False)
        ordered = ids.orderBy(*(_by_number() if whole else ["own_id"]))
        numbered = ordered.rdd.zipWithIndex().map(lambda pair: (pair[0]["own_id"], pair[1] + 1))
        return cls("string", numbered.toDF("own_id string, number int"), listed=False)

    def numbered(self, events: DataFrame, own: str, number: str, small: bool) -> DataFrame:
        """``events`` with a column ``number`` for the ids in ``own``; null for one that is not listed.

        ``small``: whether every worker may hold all ids.
        """
        if self.table is None:
            return events.withColumn(number, F.col(own).cast("int"))
        table = self.table.select(F.col("own_id").alias(own), F.col("number").alias(number))
        return events.join(F.broadcast(table) if small else table, own, "left")


def _by_number() -> list[object]:
    """Sorts whole numbers of any length as numbers."""
    negative, length = F.col("own_id").startswith("-"), F.length("own_id")
    turned = F.translate("own_id", "0123456789", "9876543210")
    return [~negative, F.when(negative, -length).otherwise(length), F.when(negative, turned).otherwise(F.col("own_id"))]
