from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_exchange_center import artifacts
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from offline.readers import read_inputs, read_lists
from past_one_machine.workers.group import Workers
from past_one_machine.workers.s2_model_train import read_own_lists, rows_of
from tests.unit.offline.test_readers import LIST, settings  # noqa: F401 (a fixture)


def test_a_worker_reads_its_share_of_the_lists(settings: Settings) -> None:  # noqa: F811
    past = read_inputs(settings).data
    five = replace(LIST.take(np.zeros(5, np.int64)), lengths=np.arange(5, dtype=np.int32))
    artifacts.LISTS.write(settings.exchange_dir, five.table(past.userids))
    own = [read_own_lists(settings.exchange_dir, Workers(rank=rank, world=2)) for rank in range(2)]
    assert [read_lists(settings, past, table).lengths.tolist() for table in own] == [[0, 1], [2, 3, 4]]


def test_more_workers_than_lists_are_refused(settings: Settings) -> None:  # noqa: F811
    past = read_inputs(settings).data
    artifacts.LISTS.write(settings.exchange_dir, LIST.table(past.userids))
    with pytest.raises(StepError, match="RECSYS_TRAINING__WORKERS"):
        read_own_lists(settings.exchange_dir, Workers(rank=0, world=2))


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("rows", [slice(0, 10), slice(0, 3), slice(2, 9), slice(9, 10), slice(4, 4)])
def test_no_other_groups_of_rows_are_read(tmp_path: Path, parts: int, rows: slice) -> None:
    """Of a file in groups of two rows, or of two such files."""
    files = [tmp_path / f"part-{number}.parquet" for number in range(parts)]
    for path, some in zip(files, np.split(np.arange(10), parts), strict=True):
        pq.write_table(pa.table({"n": some}), path, row_group_size=2)
    read = list(rows_of(files, rows))
    assert [n for table in read for n in table["n"].to_pylist()] == list(range(10))[rows]
    assert all(len(table) for table in read)
