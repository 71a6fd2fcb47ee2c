from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from data_exchange_center import artifacts
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from offline.readers import read_inputs, read_lists
from past_one_machine.workers.group import Workers
from tests.unit.offline.test_readers import LIST, settings  # noqa: F401 (a fixture)


def test_a_worker_reads_its_share_of_the_lists(settings: Settings) -> None:  # noqa: F811
    past = read_inputs(settings).data
    five = replace(LIST.take(np.zeros(5, np.int64)), lengths=np.arange(5, dtype=np.int32))
    artifacts.LISTS.write(settings.exchange_dir, five.table(past.userids))
    assert read_lists(settings, past).lengths.tolist() == [0, 1, 2, 3, 4]
    shares = [Workers(rank=rank, world=2).reads_lists for rank in range(2)]
    found = [read_lists(settings, past, share).lengths.tolist() for share in shares]
    assert found == [[0, 1], [2, 3, 4]]


def test_more_workers_than_lists_are_refused(settings: Settings) -> None:  # noqa: F811
    past = read_inputs(settings).data
    artifacts.LISTS.write(settings.exchange_dir, LIST.table(past.userids))
    with pytest.raises(StepError, match="RECSYS_TRAINING__WORKERS"):
        read_lists(settings, past, Workers(rank=0, world=2).reads_lists)
