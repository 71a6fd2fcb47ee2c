"""What Spark does for steps that train models, which run in the project's environment: see `contract.BesideModels`."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

from data_exchange_center import artifacts
from data_exchange_center.channels import Channel
from data_exchange_center.files import parts_of
from data_exchange_center.settings import Settings
from offline.data.lists import ListsAsked, ListsMade
from offline.data.samples import RatedPairs
from offline.data.sequences import Inputs
from offline.engines.spark.counting import SparkPairs
from offline.engines.spark.environment import run_job
from offline.engines.spark.teaching import Teaching


@dataclass(frozen=True)
class SparkBeside:
    """By jobs, each in a process of its own."""

    settings: Settings

    def pairs(self, items: int) -> SparkPairs:
        return SparkPairs(self.settings, items)

    def training_lists(self, asked: ListsAsked, teachers: Sequence[Channel], inputs: Inputs) -> ListsMade:
        with tempfile.TemporaryDirectory(dir=self.settings.exchange_dir, prefix=".lists.") as folder:
            Teaching(asked, inputs.profile, inputs.data.itemids, tuple(teachers)).save(Path(folder))
            run_job(self.settings, "offline.engines.spark.lists", [folder], "Spark did not make the training lists")
        parts = [pq.ParquetFile(part) for part in parts_of(artifacts.LISTS.require(self.settings.exchange_dir))]
        liked = sum(
            pc.sum(batch.column(0).flatten()).as_py() or 0
            for part in parts
            for batch in part.iter_batches(columns=["liked"])
        )
        return ListsMade(sum(part.metadata.num_rows for part in parts), asked.size, liked)

    def features_of_lists(self, _: Inputs) -> None:
        self._features("lists")

    def features_of_pairs(self, _: RatedPairs) -> None:
        self._features("pairs")

    def _features(self, examples: str) -> None:
        failed = "Spark did not make the features of users and items"
        run_job(self.settings, "offline.engines.spark.features", [examples], failed)
