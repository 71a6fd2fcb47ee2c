"""What follows what."""

from __future__ import annotations

import numpy as np
import pytest

from offline.data.sequences import Sequences
from offline.models.ease import transition_factors


def of(items: list[list[int]], ratings: list[list[int]], n_items: int) -> Sequences:
    starts = np.concatenate([[0], np.cumsum([len(row) for row in items])])
    rated, codes = np.concatenate(ratings).astype(int), np.concatenate(items).astype(int)
    return Sequences(
        np.arange(1, len(items) + 1), np.arange(1, n_items + 1), starts, codes, rated, rated > 3, np.arange(len(codes))
    )


def test_likes_within_the_window_are_counted_by_user() -> None:
    data = of([[1, 2, 3], [3, 1]], [[1, 5, 2], [5, 4]], 3)
    counts = data.followers(window=2).toarray()
    expected = np.zeros((4, 4))
    expected[1, 2] = 1  # the like of 3 by the second user does not follow the first user's 2; a dislike is no like
    expected[3, 1] = 1
    assert counts.tolist() == expected.tolist()


def test_the_window_ends() -> None:
    data = of([[1, 2, 3, 4]], [[5, 5, 5, 5]], 4)
    assert data.followers(window=1)[1].nonzero()[1].tolist() == [2]
    assert data.followers(window=2)[1].nonzero()[1].tolist() == [2, 3]
    assert data.followers(window=99)[1].nonzero()[1].tolist() == [2, 3, 4]


def test_factors_are_the_positive_information() -> None:
    """At full rank their products are log(p(b follows a) / p(b)), 0 where that is negative or nothing follows."""
    data = of([[1, 2], [1, 2], [1, 3], [4, 3], [4, 2]], [[5, 5]] * 5, 4)
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
    data = of(items, [[5] * len(row) for row in items], 3)
    events, candidates = transition_factors(data.followers(window=3), dim=64)
    assert events.shape == candidates.shape == (4, 3)
    assert not events.any()
    assert not candidates.any()
