"""Counts of pairs of items, asked of Spark by a step that runs in the project's environment, where the models are."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import scipy.sparse as sp

from data_exchange_center.files import parts_of
from data_exchange_center.settings import Settings
from offline.data.sequences import PairCount
from offline.engines.spark.environment import run_job

# a row of the matrix: an item's code, the codes that it goes together with, and how often
ARROW: Final = pa.schema([("item", pa.int32()), ("others", pa.list_(pa.int32())), ("times", pa.list_(pa.int32()))])


@dataclass(frozen=True)
class SparkPairs:
    """See `sequences.PairsElsewhere`: of what is not held out, or of the first ``share`` of it."""

    settings: Settings
    items: int
    share: float = 1.0

    def seen_together(self) -> sp.csr_matrix:
        return self._count(PairCount(self.share))

    def followers(self, window: int) -> sp.csr_matrix:
        return self._count(PairCount(self.share, window))

    def earlier(self, share: float) -> SparkPairs | None:
        return replace(self, share=share) if self.share == 1 else None

    def _count(self, asked: PairCount) -> sp.csr_matrix:
        """Raises StepError where the job fails; what it said stands above."""
        with tempfile.TemporaryDirectory(dir=self.settings.exchange_dir, prefix=".pairs.") as folder:
            counts = Path(folder) / "counts"
            of = [str(counts), str(asked.share), *([] if asked.window is None else [str(asked.window)])]
            run_job(self.settings, "offline.engines.spark.pairs", of, "Spark did not count the pairs of items")
            return counts_of(pa.concat_tables(map(pq.read_table, parts_of(counts))), self.items + 1)


def counts_of(rows: pa.Table, size: int) -> sp.csr_matrix:
    """Rows as in `ARROW`, of an item several times, too -> (size, size)."""
    others, times = (rows[name].combine_chunks() for name in ("others", "times"))
    lengths = np.diff(others.offsets.to_numpy())
    places = np.repeat(rows["item"].to_numpy(), lengths), others.flatten().to_numpy()
    counts = sp.csr_matrix((times.flatten().to_numpy(), places), shape=(size, size))
    counts.sum_duplicates()
    return counts
