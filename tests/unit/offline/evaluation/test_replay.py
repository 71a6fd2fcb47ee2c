from __future__ import annotations

from dataclasses import replace

import numpy as np

from offline.data.sequences import Sequences
from offline.evaluation import replay
from offline.evaluation.baselines import best_unseen, popular_lists
from tests.unit.offline.evaluation.made_up import LAST, LAST_FOUR, N_ITEMS, made_up


def test_the_past_holds_nothing_of_the_held_out_part() -> None:
    data = made_up()
    holdout = replay.hold_out(data, LAST_FOUR)
    assert holdout.past.seen().multiply(holdout.relevance + holdout.disliked).nnz == 0
    assert holdout.relevance.sum() == sum(data.liked[end - LAST : end].sum() for end in data.starts[1:])
    assert (holdout.relevance + holdout.disliked).sum() == LAST * data.n_users
    assert holdout.relevance.multiply(holdout.disliked).nnz == 0
    assert holdout.slices["returning"].tolist() == [True, False, False, False]
    assert holdout.slices["same session"].tolist() == [False, True, True, True]
    assert holdout.times.tolist() == [data.times[end - LAST] for end in data.starts[1:]]


def test_users_without_a_past_or_a_future_are_in_no_slice_by_time() -> None:
    data = made_up()
    nothing = data.select(np.zeros(len(data.items), dtype=bool))
    for holdout in (replay.holdout_of(nothing, data), replay.holdout_of(data, nothing)):
        assert not holdout.slices["returning"].any()
        assert not holdout.slices["same session"].any()


def test_what_is_liked_later_changes_no_past() -> None:
    data = made_up()
    late = data.positions >= np.repeat(data.lengths - LAST, data.lengths)
    other = replace(data, liked=np.where(late, ~data.liked, data.liked))
    one, two = replay.hold_out(data, LAST_FOUR), replay.hold_out(other, LAST_FOUR)
    assert np.array_equal(popular_lists(one.past, 9), popular_lists(two.past, 9))
    assert (one.relevance != two.disliked).nnz == 0


def test_lists_hold_nothing_seen() -> None:
    data: Sequences = made_up()
    seen = data.seen()
    lists = best_unseen(np.random.default_rng(1).random((4, N_ITEMS + 1)), seen, N_ITEMS)
    for user, codes in enumerate(lists):
        assert not set(codes[codes > 0]) & set(seen[user].indices)
        assert (codes > 0).sum() == N_ITEMS - seen[user].nnz


def test_ties_go_to_the_smaller_code() -> None:
    data = made_up()
    lists = best_unseen(np.zeros((4, N_ITEMS + 1)), data.seen(), 5)
    assert all(list(codes) == sorted(codes) for codes in lists)
