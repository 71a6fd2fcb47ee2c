"""Which requests the ranker is trained on: of some users alone what they are among all."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from data_exchange_center.recipes import DEFAULT, ListRankerRecipe
from offline.data import lists
from offline.data.lists import ListsAsked
from offline.data.requests import Points, asked_later, request_points
from offline.data.sequences import Sequences
from tests.unit.offline.data.ratings import made_up_ratings

ASKED = ListsAsked.of(DEFAULT, ListRankerRecipe(seed=7, stride=3, past=0.4, later=0.5))
DATA = made_up_ratings(users=30, events=12)


def some_users(data: Sequences, begin: int, end: int) -> Sequences:
    events = slice(data.starts[begin], data.starts[end])
    columns = {name: getattr(data, name)[events] for name in ("items", "ratings", "liked", "times")}
    starts = data.starts[begin : end + 1] - data.starts[begin]
    return replace(data, userids=data.userids[begin:end], starts=starts, **columns)


def test_requests_of_everybody_are_drawn_with_one_generator() -> None:
    rng = np.random.default_rng(8)
    points = request_points(DATA, 3, rng)
    points = points.take(points.positions >= DATA.earlier_lengths(0.4)[points.users])
    points = asked_later(points, 0.5, rng)
    found = ASKED.all_requests(DATA)
    for name in ("users", "positions", "times"):
        assert getattr(found, name).tolist() == getattr(points, name).tolist()
    assert len(points) > 50
    assert (points.times > DATA.times.max()).mean() == pytest.approx(0.5, abs=0.2)


@pytest.mark.parametrize("ends", [(30,), (0, 1, 2, 30), (4, 17, 30), tuple(range(1, 31))])
def test_requests_of_some_users_after_the_other(ends: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each part draws for itself, as on another machine."""
    monkeypatch.setattr(lists, "AT_ONCE", 3)
    found = [
        (begin, ASKED.requests(some_users(DATA, begin, end), ASKED.draws(begin))) for begin, end in pairwise((0, *ends))
    ]
    total, before, parts = sum(len(points) for _, points in found), 0, []
    for begin, points in found:
        asked = ASKED.asked(points, *ASKED.draws_later(DATA.n_users, total, before))
        parts.append(Points(asked.users + begin, asked.positions, asked.times))
        before += len(points)
    expected = ASKED.all_requests(DATA)
    for name in ("users", "positions", "times"):
        assert np.concatenate([getattr(part, name) for part in parts]).tolist() == getattr(expected, name).tolist()


def test_a_generator_goes_on_from_some_users_to_the_next() -> None:
    draws = ASKED.draws()
    found = [ASKED.requests(some_users(DATA, begin, end), draws) for begin, end in ((0, 11), (11, 30))]
    apart = [ASKED.requests(some_users(DATA, begin, end), ASKED.draws(begin)) for begin, end in ((0, 11), (11, 30))]
    for one, two in zip(found, apart, strict=True):
        assert one.positions.tolist() == two.positions.tolist()
