"""Nobody sees the second of the request: not in training, not in evaluation, not in the server."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from data_exchange_center.channels import HistorySum
from data_exchange_center.columns import Columns
from data_exchange_center.dataset import HoldoutRule
from data_exchange_center.history import History, first_of_second
from offline.data import terms
from offline.data.lists import recall_lists
from offline.data.requests import Points, histories, request_points, seen_before
from offline.data.sequences import Sequences
from offline.evaluation import replay
from online.clients.redis import StoredUser
from tests.datasets import STARS
from tests.unit.offline.data.ratings import made_up_ratings

AT = 3  # the second of the request
SEEN = 6  # events of each user before it, two a second
Arrays = tuple[NDArray[np.generic], ...]


def points(data: Sequences) -> Points:
    found = request_points(data, 1, np.random.default_rng(0))
    return found.take(found.times == AT)


def training_points(data: Sequences) -> Arrays:
    return *histories(data, points(data), 100), *seen_before(data, points(data))


def training_lists(data: Sequences) -> Arrays:
    rows = np.random.default_rng(0).normal(size=(2, data.n_items + 1, 3)).astype(np.float32)
    flat = np.ones((1, 2, 9), np.float32), np.tile(np.arange(6), (1, 2, 1)).astype(np.float32)
    nothing, base = np.zeros(data.n_items + 1, np.float32), np.zeros((2, 3), np.float32)
    channel = HistorySum("any", rows[:1], *flat, base, (), rows[1], nothing, np.arange(data.n_items + 1) > 0)
    nobody = np.zeros((data.n_users, 0), int)
    found = recall_lists(data, points(data), nobody, [channel], [1.0], size=5, history=9)
    return found.events, found.ratings, found.ages, found.lengths, found.candidates, found.features


def genre_statistics(data: Sequences) -> Arrays:
    frame = pd.DataFrame(
        {Columns.USER: data.users, Columns.TIMESTAMP: data.times, "item": data.items, Columns.LABEL: data.liked}
    )
    flags = np.random.default_rng(0).integers(0, 2, (data.n_items + 1, 4)).astype(np.int8)
    return (terms.terms_before(frame, flags, 4)[data.times == AT],)


def holdout(data: Sequences) -> Arrays:
    known = replay.hold_out(data, HoldoutRule(last=1)).at(np.full(data.n_users, AT)).known
    return known.starts, known.items, known.ratings, known.times


def of_user(data: Sequences) -> tuple[History, NDArray[np.int64]]:
    own = slice(data.starts[1], data.starts[2])
    return History(*(part[own][::-1] for part in (data.items, data.ratings, data.times))), np.sort(data.items[own])


def arrays(history: History) -> Arrays:
    return history.itemids, history.ratings, history.times


def artifacts_replayed(data: Sequences) -> Arrays:
    return arrays(of_user(data)[0].as_of(AT))  # as `served.answers` asks


def server(data: Sequences) -> Arrays:
    history, seen = of_user(data)
    user = StoredUser(1, (), seen.astype(np.int32), np.zeros(0, np.int32), history, {}).current(STARS, {}, AT)
    return *arrays(user.history), user.seen


def made_up() -> Sequences:
    return made_up_ratings(of_one_second=2)


def another_end() -> Sequences:
    """Other films, rated otherwise, from the request's second on."""
    data = made_up()
    items, ratings = data.items.copy(), data.ratings.copy()
    for start, end in zip(data.starts[:-1] + SEEN, data.starts[1:], strict=True):
        own = data.items[data.starts[np.searchsorted(data.starts, start, "right") - 1] : end]
        items[start:end] = np.setdiff1d(np.arange(1, data.n_items + 1), own)[: end - start]
        ratings[start:end] = ratings[start:end] % 5 + 1
    return replace(data, items=items, ratings=ratings, liked=ratings > 3)


@pytest.mark.parametrize(
    "place",
    [training_points, training_lists, genre_statistics, holdout, artifacts_replayed, server],
    ids=lambda place: place.__name__,
)
def test_what_happens_in_the_second_of_the_request_changes_nothing(place: Callable[[Sequences], Arrays]) -> None:
    one, other = place(made_up()), place(another_end())
    assert all(map(np.array_equal, one, other))
    assert sum(part.size for part in one) > 0
    before = made_up()
    earlier = replace(before, ratings=np.where(before.times == AT - 1, before.ratings % 5 + 1, before.ratings))
    earlier = replace(earlier, liked=earlier.ratings > 3)
    assert not all(map(np.array_equal, one, place(earlier)))  # the second before is seen


def test_the_first_of_a_second_is_that_of_one_user() -> None:
    users, times = np.array([1, 1, 1, 2, 2, 3]), np.array([5, 7, 7, 7, 7, 7])
    assert first_of_second(users, times).tolist() == [0, 1, 1, 3, 3, 5]
    assert first_of_second(users[1:], times[1:]).tolist() == [0, 0, 2, 2, 4]  # the first two are of one second
    assert first_of_second(users[:0], times[:0]).tolist() == []
