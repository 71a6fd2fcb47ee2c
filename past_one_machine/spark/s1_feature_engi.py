"""Step 5 on Spark: offline/rank/s1_feature_engi.py. The training channels are fitted here; Spark recalls their lists
and counts the features. The rated pairs of recipe source are made in memory, as in the step.

Lists of a user are scored apart from others', so a feature's last digits may differ from the step's.

Run:    RECSYS_ENGINE=spark make offline; alone: cd past_one_machine/spark && python s1_feature_engi.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

from data_exchange_center import artifacts, provenance
from data_exchange_center.files import parts_of
from data_exchange_center.settings import Settings
from data_exchange_center.steps import run
from offline.data.lists import ListsConfig
from offline.rank import s1_feature_engi as step
from past_one_machine.spark.environment import run_job
from past_one_machine.spark.lists import RecallSetup
from past_one_machine.spark.pairs import read_counted_on_spark


def main(settings: Settings) -> None:
    if settings.recipe.ranker.examples != "lists":
        step.main(settings)
        return
    folder, recipe = settings.exchange_dir, settings.recipe
    read = provenance.made_from(folder, recipe, provenance.FEATURES)
    inputs = read_counted_on_spark(settings)
    spec, channels = step.fit_training_channels(inputs, recipe)
    past = inputs.data
    with tempfile.TemporaryDirectory(dir=folder, prefix=".lists.") as setup:
        config = ListsConfig.of(recipe).limited(past)
        RecallSetup(config, inputs.profile, past.item_numbers, tuple(channels)).save(Path(setup))
        run_job(settings, "past_one_machine.spark.lists", [setup], "Spark did not make the training lists")
    run_job(settings, "past_one_machine.spark.features", [], "Spark did not make the features of users and items")
    step.write_about(settings, past, spec, channels, read)
    step.say(spec, *lists_and_liked(folder), candidates=recipe.recall.candidates)


def lists_and_liked(folder: Path) -> tuple[int, int]:
    """Number of written lists, and of their candidates that were liked next."""
    parts = [pq.ParquetFile(part) for part in parts_of(artifacts.LISTS.require(folder))]
    liked = sum(
        pc.sum(batch.column(0).flatten()).as_py() or 0
        for part in parts
        for batch in part.iter_batches(columns=["liked"])
    )
    return sum(part.metadata.num_rows for part in parts), liked


if __name__ == "__main__":
    run(main, about=__doc__)
