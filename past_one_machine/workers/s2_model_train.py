"""Step 6 by several workers: the first runs the step, the others train a ranker of lists with it.

Reads, writes: as offline/rank/s2_model_train.py; checkpoints in offline/checkpoints-s2_model_train while it runs
Run:    cd past_one_machine/workers && RECSYS_TRAINING__WORKERS=2 python s2_model_train.py; on several machines
        torchrun ... s2_model_train.py
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from data_exchange_center import artifacts, provenance
from data_exchange_center.files import parts_of
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from offline.models.kinds import ranker_class
from offline.rank import s2_model_train
from past_one_machine.workers.group import Workers, run


def train_with_the_first(settings: Settings, workers: Workers) -> None:
    """Train the ranker together with the first worker; the part of every other worker."""
    if settings.recipe.ranker.examples == "lists":
        provenance.made_from(settings.exchange_dir, settings.recipe, provenance.RANKER)  # refuses as the first does
        own = s2_model_train.read_list_examples(settings, table=read_own_lists(settings.exchange_dir, workers))
        ranker_class(settings.recipe.ranker.kind).fit(settings.recipe.ranker, own)


def read_own_lists(exchange_dir: Path, workers: Workers) -> pa.Table:
    """Rows of `artifacts.LISTS` that a worker reads. Raises StepError when there are none."""
    parts = parts_of(artifacts.LISTS.require(exchange_dir))
    artifacts.LISTS.expect_columns(parts, exchange_dir)
    total = sum(pq.read_metadata(part).num_rows for part in parts)
    found = list(rows_of(parts, workers.reads_lists(total)))
    if not found:
        raise StepError(
            "the ranker has fewer training lists than workers: start fewer of them, or a single one, by "
            "RECSYS_TRAINING__WORKERS."
        )
    return pa.concat_tables(found)


def rows_of(parts: list[Path], own: slice) -> Iterator[pa.Table]:
    """Some of the rows of all parts; a group of rows that has none of them is not read."""
    begin, end = own.start, own.stop  # counted from the first row of each group in turn
    for file in map(pq.ParquetFile, parts):
        for number in range(file.num_row_groups):
            size = file.metadata.row_group(number).num_rows
            first, last = max(begin, 0), min(end, size)
            if first < last:
                yield file.read_row_group(number).slice(first, last - first)
            begin, end = begin - size, end - size


if __name__ == "__main__":
    run("offline/rank/s2_model_train.py", train_with_the_first, about=__doc__)
