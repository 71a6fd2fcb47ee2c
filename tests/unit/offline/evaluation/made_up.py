"""Four users, forty films; the first user comes back after two hours for the held-out part."""

from __future__ import annotations

import numpy as np

from data_exchange_center.dataset import HoldoutRule
from offline.data.sequences import Sequences

N_ITEMS, LAST = 40, 4
LAST_FOUR = HoldoutRule(last=LAST)


def made_up() -> Sequences:
    rng = np.random.default_rng(0)
    lengths = np.array([20, 12, 30, 25])
    items = np.concatenate([rng.permutation(N_ITEMS)[:n] + 1 for n in lengths])
    ratings = rng.integers(1, 6, len(items))
    times = np.concatenate([np.arange(n) * 10 for n in lengths])
    times[16:20] += 7200
    starts = np.concatenate([[0], np.cumsum(lengths)])
    return Sequences(np.arange(4), np.arange(1, N_ITEMS + 1), starts, items, ratings, ratings > 3, times)
