"""Made-up channels that recall training lists, and what a job recalls them by."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from data_exchange_center.channels import Channel, HistorySum, StoredVectors
from data_exchange_center.settings import Settings
from offline.data.lists import ListsConfig
from offline.data.sequences import Inputs
from offline.readers import read_inputs
from past_one_machine.spark.lists import Lists, Teaching

ASKED = ListsConfig(seed=3, past=0.3, stride=2, weights=(2, 1), size=12, history=4, horizon=5)
DIM = 6


def made_up(inputs: Inputs, seed: int = 0) -> tuple[Channel, ...]:
    """One that reads history and profile, and one that has a vector for each user, but for some."""
    random, data = np.random.default_rng(seed), inputs.data
    rows, codes = data.n_items + 1, inputs.dataset.rating_codes

    def table(*shape: int) -> np.ndarray:
        return random.normal(size=shape).astype(np.float32)

    summed = HistorySum(
        name="summed",
        rows=table(1, rows, DIM),
        lag=table(1, 2, 20),
        rating_weight=table(1, 2, codes),
        base=table(2, DIM),
        profile=tuple(table(feature.cardinality, DIM) for feature in inputs.profile),
        items=table(rows, DIM),
        bias=table(rows),
        trained=np.arange(rows) > 0,
        hidden=(table(1, DIM, 9), table(9), table(9, DIM)),
    )
    users = table(data.n_users, DIM)
    users[::7] = np.nan
    return summed, StoredVectors("stored", users, table(rows, DIM), np.arange(rows) > 1)


def saved(settings: Settings, folder: Path, config: ListsConfig) -> Lists:
    """The job, in batches that end within users, and in lists that are handed on a few at a time."""
    inputs = read_inputs(settings)
    folder.mkdir()
    Teaching(config, inputs.profile, inputs.data.itemids, made_up(inputs)).save(folder)
    return Lists(settings.exchange_dir, folder, inputs.dataset.positive_level, batch=37, at_once=10)
