"""Pairs of items that were liked one after the other, and how often lists have the second one."""

from __future__ import annotations

import numpy as np

from offline.data.sequences import Sequences
from research.measure.similar import hit_rates, pairs, ranked


def rated(*users: list[tuple[int, bool]]) -> Sequences:
    items, liked = (np.array([event[n] for user in users for event in user]) for n in (0, 1))
    starts = np.cumsum([0, *(len(user) for user in users)])
    codes = np.where(liked, 5, 1)
    return Sequences(
        np.arange(len(users)), np.arange(1, 6), starts, items, codes, liked.astype(bool), np.arange(len(items))
    )


def test_a_pair_is_what_was_liked_last_and_the_new_item_that_was_liked_next() -> None:
    past = rated([(1, True), (2, True), (3, False)], [(1, False)], [(4, True)])
    future = rated([(4, False), (1, True), (5, True)], [(2, True)], [(1, False)])
    given, liked = pairs(past, future)
    assert (given.tolist(), liked.tolist()) == ([2], [5])


def test_a_hit_is_a_second_item_among_the_first() -> None:
    scores = np.zeros((31, 31))
    scores[1, 2:] = np.arange(29, 0, -1)  # of item 1 the list 2, 3, ...; itself and padding are on none
    given, liked = np.array([1, 1, 1, 1]), np.array([2, 7, 12, 30])
    found = hit_rates(ranked(scores), given, liked)
    assert {name: each["mean"] for name, each in found.items()} == {
        "hit rate@5": 0.25, "hit rate@10": 0.5, "hit rate@20": 0.75
    }  # fmt: skip
