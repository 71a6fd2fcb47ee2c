"""Ratings and training lists made up for tests."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offline.data.lists import Lists
from offline.data.sequences import Sequences


def made_up_ratings(
    users: int = 24, items: int = 20, events: int = 10, of_one_second: int = 1, seed: int = 0
) -> Sequences:
    """Every user rates ``events`` different items, ``of_one_second`` of them at a time, by taste for odd or even."""
    rng = np.random.default_rng(seed)
    codes = np.concatenate([rng.permutation(items)[:events] + 1 for _ in range(users)])
    taste = np.repeat(rng.choice([-1.2, 1.2], users), events) * np.where(codes % 2, 1, -1)
    ratings = np.clip(np.rint(3.5 + taste + rng.normal(0, 0.5, len(codes))), 1, 5).astype(np.int64)
    times = np.tile(np.arange(events) // of_one_second, users)
    starts = np.arange(users + 1) * events
    return Sequences(np.arange(users), np.arange(1, items + 1), starts, codes, ratings, ratings > 3, times)


def made_up_lists(candidates: NDArray[np.int32], features: NDArray[np.float16], **columns: Any) -> Lists:
    """Lists with these candidates and features; whose users, times and histories are all alike, and nobody liked any.

    Args:
        columns: others than those.
    """
    nothing, none = np.zeros(len(candidates), np.int32), np.zeros(candidates.shape, bool)
    events = np.ones((len(candidates), 4), np.int32)
    lists = Lists(
        users=nothing,
        times=nothing.astype(np.int64),
        lengths=nothing,
        statistics=np.zeros((len(candidates), 2), np.int64),
        events=events,
        ratings=events.astype(np.int8),
        ages=events,
        candidates=candidates,
        features=features,
        liked=none,
        disliked=none,
    )
    return replace(lists, **columns)
