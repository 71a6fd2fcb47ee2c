"""Ratings and training lists made up for tests."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offline.data.lists import Lists
from offline.data.sequences import Sequences


def events_of(
    items: list[list[int]],
    ratings: list[list[int]],
    times: list[list[int]] | None = None,
    n_items: int = 3,
) -> Sequences:
    """Item codes of each user's events, one after the other where no times are given; users and items count from 1."""
    codes, rated = (np.concatenate(each).astype(np.int64) for each in (items, ratings))
    starts = np.concatenate([[0], np.cumsum([len(own) for own in items])])
    at = np.arange(len(codes)) if times is None else np.concatenate(times)
    users = np.arange(1, len(items) + 1)
    return Sequences(
        users, np.arange(1, n_items + 1), starts, codes, rated, rated > 3, at
    )


def made_up_lists(
    candidates: NDArray[np.int32], features: NDArray[np.float16], **columns: Any
) -> Lists:
    """Lists with these candidates and features; whose users, times and histories are all alike, and nobody liked any.

    Args:
        columns: others than those.
    """
    nothing, none = (
        np.zeros(len(candidates), np.int32),
        np.zeros(candidates.shape, bool),
    )
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
