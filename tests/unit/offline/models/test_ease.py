"""EASE; what follows what."""

from types import SimpleNamespace

import numpy as np
import pytest

from data_exchange_center.channels import BREAK_S, HistorySum, Requests
from data_exchange_center.recipes import DataRecipe, EaseRecipe
from offline.data.sequences import Sequences
from offline.models.ease import fit, transition_factors
from tests.datasets import STARS
from tests.unit.offline.data.ratings import events_of

USERS, ITEMS, L2 = 80, 30, 5.0


@pytest.fixture
def past() -> Sequences:
    """Items of three kinds; a user mostly rates one kind, and the first items most often."""
    rng = np.random.default_rng(0)
    share = (
        0.25
        + 0.6 * (np.arange(ITEMS) % 3 == np.arange(USERS)[:, None] % 3)
        - 0.2 * np.arange(ITEMS) / ITEMS
    )
    users, items = np.nonzero(rng.random((USERS, ITEMS)) < share)
    ratings = np.full(len(users), 4)
    return Sequences(
        user_numbers=np.arange(USERS),
        item_numbers=np.arange(ITEMS),
        starts=np.searchsorted(users, np.arange(USERS + 1)),
        items=items + 1,
        ratings=ratings,
        liked=ratings > 3,
        times=np.arange(len(users)),
    )


def channel_of(past: Sequences, recipe: EaseRecipe) -> HistorySum:
    return fit(
        recipe, past, SimpleNamespace(dataset=STARS), DataRecipe(history=5)
    ).channel


def test_an_item_that_nobody_rated_is_not_trained(past: Sequences) -> None:
    channel = channel_of(past.select(past.items != 7), EaseRecipe(dim=4, l2=L2))
    assert np.flatnonzero(~channel.trained).tolist() == [0, 7]
    assert np.isfinite(channel.items).all()


def test_returning_users_weigh_all_likes_equally(past: Sequences) -> None:
    channel = channel_of(past, EaseRecipe(dim=4, l2=L2, taste=8))
    shape, codes = (1, 9), np.arange(1, 10)[None]
    ratings = np.array([[5, 1, 4, 3, 5, 4, 5, 4, 5]])

    def vector(age: int) -> np.ndarray:
        events = Requests(
            codes,
            ratings,
            np.zeros(shape, int),
            np.array([9]),
            np.zeros((1, 0), int),
            np.array([age]),
        )
        return channel.user_vectors(events)[0, :-2]

    # of the five events that recall looks at within a session
    weight = np.mean(np.arange(1, 6) ** -0.75)
    # the newest eight: likes, and two dislikes
    by_rating = np.array([1, 0.1, 1, 0.1, 1, 1, 1, 1])
    assert vector(BREAK_S) == pytest.approx(
        weight * by_rating @ channel.rows[0][1:9], rel=1e-4
    )
    within = np.arange(1, 6) ** -0.75 * [1, 0.5, 1, 0.5, 1]
    assert vector(BREAK_S - 1) == pytest.approx(within @ channel.rows[0][1:6], rel=1e-4)


def test_likes_within_the_window_are_counted_by_user() -> None:
    data = events_of([[1, 2, 3], [3, 1]], [[1, 5, 2], [5, 4]])
    counts = data.followers(window=2).toarray()
    expected = np.zeros((4, 4))
    # the like of 3 by the second user does not follow the first user's 2; a dislike is no like
    expected[1, 2] = 1
    expected[3, 1] = 1
    assert counts.tolist() == expected.tolist()


def test_factors_are_the_positive_information() -> None:
    """At full rank their products are log(p(b follows a) / p(b)), 0 where that is negative or nothing follows."""
    data = events_of([[1, 2], [1, 2], [1, 3], [4, 3], [4, 2]], [[5, 5]] * 5, n_items=4)
    events, candidates = transition_factors(data.followers(window=5), dim=4)
    found = events @ candidates.T
    share = np.array([3.0, 2.0]) ** 0.75
    share /= share.sum()
    assert found[1, 2] == pytest.approx(np.log(2 / 3 / share[0]), abs=1e-5)
    assert found[4, 3] == pytest.approx(np.log(1 / 2 / share[1]), abs=1e-5)
    assert found[1, 3] == pytest.approx(0, abs=1e-5)
    assert not found[0].any()
    assert not found[:, 0].any()
    assert found[2] == pytest.approx(np.zeros(5), abs=1e-5)


@pytest.mark.parametrize("items", [[[], []], [[1], [2]]])
def test_nothing_follows_nothing(items: list[list[int]]) -> None:
    data = events_of(items, [[5] * len(row) for row in items])
    events, candidates = transition_factors(data.followers(window=3), dim=64)
    assert events.shape == candidates.shape == (4, 3)
    assert not events.any()
    assert not candidates.any()
