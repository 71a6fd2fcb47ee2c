from __future__ import annotations

from dataclasses import replace

import numpy as np

from data_exchange_center.dataset import HoldoutRule
from extras import replay
from offline.data.sequences import Sequences

N_ITEMS, LAST = 40, 4
LAST_FOUR = HoldoutRule(last=LAST)


def made_up() -> Sequences:
    """Four users, forty films; the first user comes back after two hours for the held-out part."""
    rng = np.random.default_rng(0)
    lengths = np.array([20, 12, 30, 25])
    items = np.concatenate([rng.permutation(N_ITEMS)[:n] + 1 for n in lengths])
    ratings = rng.integers(1, 6, len(items))
    times = np.concatenate([np.arange(n) * 10 for n in lengths])
    times[16:20] += 7200
    starts = np.concatenate([[0], np.cumsum(lengths)])
    return Sequences(
        np.arange(4),
        np.arange(1, N_ITEMS + 1),
        starts,
        items,
        ratings,
        ratings > 3,
        times,
    )


def test_the_past_holds_nothing_of_the_held_out_part() -> None:
    data = made_up()
    holdout = replay.hold_out(data, LAST_FOUR)
    assert holdout.past.seen().multiply(holdout.relevance + holdout.disliked).nnz == 0
    assert holdout.relevance.sum() == sum(
        data.liked[end - LAST : end].sum() for end in data.starts[1:]
    )
    assert (holdout.relevance + holdout.disliked).sum() == LAST * data.n_users
    assert holdout.relevance.multiply(holdout.disliked).nnz == 0
    assert holdout.returning.tolist() == [True, False, False, False]
    assert holdout.times.tolist() == [data.times[end - LAST] for end in data.starts[1:]]


def test_known_items_are_no_targets() -> None:
    """The same item again, in the holdout or twice within it, is liked once at most, and only where it is new."""
    data = made_up()
    items = data.items.copy()
    # user 0: the last event repeats the first, the one before it another
    items[19], items[18] = items[0], items[17]
    data = replace(data, items=items, liked=np.ones(len(items), dtype=bool))
    holdout = replay.hold_out(data, LAST_FOUR)
    assert sorted(holdout.relevance[0].indices) == sorted({items[16], items[17]})
    assert holdout.relevance.max() == 1


def rated_one_page() -> Sequences:
    """As `made_up`; the second user rates the last two films before the held-out ones in the second of these."""
    data = made_up()
    times, first = data.times.copy(), data.starts[2] - LAST
    times[first - 2 : first] = times[first]
    return replace(data, times=times)


def test_events_in_the_requests_second_are_ignored() -> None:
    data = rated_one_page()
    holdout, first = replay.hold_out(data, LAST_FOUR), data.starts[2] - LAST
    page = data.items[first - 2 : first]
    assert (holdout.past.lengths - holdout.known.lengths).tolist() == [0, 2, 0, 0]
    assert holdout.relevance[1].multiply(holdout.past.seen()[1]).nnz == 0
    assert not set(page) & set(holdout.known.items[holdout.known.users == 1])
    lists = np.array([[5, 0, 0, 0, 0]] * 4)
    lists[1] = [page[0], 39, page[1], 40, 0]
    judged = lists.copy()
    judged[1] = [39, 40, 0, 0, 0]
    assert np.array_equal(holdout.judged(lists), judged)
    later = holdout.at(holdout.times + 1)
    assert np.array_equal(later.known.items, holdout.past.items)
    assert np.array_equal(later.judged(lists), lists)
    assert (later.relevance != holdout.relevance).nnz == 0


def test_users_without_events_have_no_past() -> None:
    """All of a user's events are of one second, as where data has dates alone; a later request has the same answer."""
    data = made_up()
    every = replay.hold_out(data, LAST_FOUR)
    user = int(np.diff(every.relevance.indptr).argmax())
    times = np.where(
        data.users == user, data.times[data.starts[user + 1] - 1], data.times
    )
    holdout = replay.hold_out(replace(data, times=times), LAST_FOUR)
    assert holdout.past.lengths[user] > 0 == holdout.known.lengths[user]
    assert not holdout.returning[user]
    for each in (holdout, holdout.at(holdout.times + 1)):
        assert each.relevance[user].nnz == each.disliked[user].nnz == 0
        assert each.cold.nnz == each.cold[user].nnz == every.relevance[user].nnz > 0
