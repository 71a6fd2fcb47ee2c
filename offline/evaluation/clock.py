"""What the clock is worth: the same targets, asked for in the sitting, an hour later, and now.

In the sitting is as of the second of the first held-out rating: most users are then in the middle of rating films. An
hour later and now the sitting is over, as far as a recommender can tell, and yet the targets are those of the sitting.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from data_exchange_center.channels import BREAK_S
from offline.evaluation import metrics
from offline.evaluation.metrics import Lists
from offline.evaluation.replay import Holdout
from offline.evaluation.report import per_user

SITTING, HOUR_LATER, NOW = "in the sitting", "an hour later", "now"
EVERYBODY = "all"
ROWS = ("first of its second", "returning")  # slices of the holdout
MEASURES = ("recall@200", "recall@50", "ndcg@50")


def later(holdout: Holdout) -> dict[str, Holdout]:
    """The holdout asked for an hour later, and now."""
    now = np.full_like(holdout.times, int(time.time()))
    return {HOUR_LATER: holdout.asked_at(holdout.times + BREAK_S), NOW: holdout.asked_at(now)}


def clock_table(asked: Mapping[str, tuple[Holdout, Mapping[str, Lists]]]) -> dict[str, Any]:
    """Everybody or a slice -> system -> when -> how many users, and means.

    Args:
        asked: when -> the holdout as it was asked then, and each system's lists.
    """
    found: dict[str, Any] = {row: {} for row in (EVERYBODY, *ROWS)}
    for when, (holdout, systems) in asked.items():
        inside = {EVERYBODY: np.ones(holdout.past.n_users, dtype=bool)} | {row: holdout.slices[row] for row in ROWS}
        for name, lists in systems.items():
            values = per_user(holdout.relevance, holdout.judged(lists))
            for row, users in inside.items():
                kept = {m: np.where(users, values[m], np.nan) for m in MEASURES if m in values}
                means = {metric: metrics.mean(value, resamples=1) for metric, value in kept.items()}
                counted = {"users": max((mean.users for mean in means.values()), default=0)}
                found[row].setdefault(name, {})[when] = counted | {m: mean.mean for m, mean in means.items()}
    return found
