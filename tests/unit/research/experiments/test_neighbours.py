from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from research.experiments import neighbours
from research.experiments.neighbours import AMPLIFICATION, PRIOR, SHRINK, Neighbours, fit_neighbours, neighbour_columns
from tests.unit.offline.data.ratings import made_up_ratings

OVERALL, ITEMS = 3.5, 3
OFFSET = np.array([0, 0.5, -0.5, 0.0])


def known() -> Neighbours:
    """Items 1, 2, 3; what items 1 and 2 say about item 3."""
    likes, similar = (np.zeros((ITEMS + 1, ITEMS + 1), dtype=np.float32) for _ in range(2))
    likes[1, 3], likes[2, 3] = 0.3, -0.1
    similar[1, 3], similar[2, 3] = 0.4, 0.2
    return Neighbours(OVERALL, OFFSET, np.array([0, 7, 8, 9]), likes, similar)


def columns_of(items: list[int], ratings: list[int], times: list[int]) -> dict[str, list[float]]:
    rated = np.array(ratings)
    table = neighbour_columns(known(), np.array(items), rated, rated > 3, np.array(times))
    return {name: table[:, k].tolist() for k, name in enumerate(neighbours.COLUMNS)}


def test_third_event_by_hand() -> None:
    found = columns_of([1, 2, 3], [5, 2, 4], [10, 20, 30])
    first, second = 5 - OVERALL - 0.5, 2 - OVERALL + 0.5  # rating less what is usual
    user = (first + second) / (2 + PRIOR)
    last = {name: values[2] for name, values in found.items()}
    decay = np.exp(-1 / neighbours.RECENT_EVENTS)
    weighted = 0.4 * (first - user) + 0.2 * (second - user)
    recent = 0.4 * decay * (first - user) + 0.2 * (second - user)
    expected = {
        "likes_of_liked": 0.3,
        "likes_of_disliked": -0.1,
        "similar_liked": 0.4,
        "similar_disliked": 0.2,
        "neighbours": weighted / (0.6 + neighbours.LEAST_SIMILAR),
        "neighbours_recent": recent / (0.4 * decay + 0.2 + neighbours.LEAST_RECENT),
        "recent": (decay * (first - user) + second - user) / (decay + 1 + 1),
        "user_offset": user,
        "item_offset": 0.0,
        "user_ratings": np.log(3),
        "item_ratings": np.log(10),
    }
    assert last == pytest.approx(expected, rel=1e-5)


def test_the_first_event_knows_only_its_item() -> None:
    found = columns_of([3, 1], [1, 5], [10, 20])
    of_item = {"item_offset": 0.0, "item_ratings": np.log(10)}
    expected = {name: of_item.get(name, 0.0) for name in neighbours.COLUMNS}
    assert {name: values[0] for name, values in found.items()} == pytest.approx(expected)


def test_events_of_one_second_are_as_if_each_were_alone() -> None:
    together = columns_of([1, 2, 3], [5, 2, 4], [10, 20, 20])
    alone = columns_of([1, 3], [5, 4], [10, 20])
    assert {name: values[2] for name, values in together.items()} == pytest.approx(
        {name: values[1] for name, values in alone.items()}
    )


def test_similarity_is_the_shrunk_and_amplified_correlation_of_common_raters() -> None:
    # Items 1 and 2 have three common raters; item 3 disagrees with 1; item 4 was rated by nobody.
    residuals = np.array([[0, 1.0, 2, 0, 0], [0, -1, -1, 1, 0], [0, 2, 1, -2, 0], [0, 3, 0, 0, 0]], dtype=np.float32)
    found = neighbours.similarities(sp.csr_matrix(residuals))
    correlation = (1 * 2 + 1 * 1 + 2 * 1) / np.sqrt((1 + 1 + 4) * (4 + 1 + 1))
    assert found[1, 2] == pytest.approx((correlation * 3 / (3 + SHRINK)) ** AMPLIFICATION, rel=1e-5)
    assert np.array_equal(found, found.T)
    assert (np.diag(found) == 0).all()
    assert found[1, 3] == 0
    assert (found[4] == 0).all()


def test_offsets_leave_out_how_generous_users_are() -> None:
    data = made_up_ratings()
    fitted = fit_neighbours(data)
    mean = [data.ratings[data.users == user].mean() for user in range(data.n_users)]
    item = int(data.items[0])
    rated = data.items == item
    deviations = [data.ratings[row] - mean[data.users[row]] for row in np.flatnonzero(rated)]
    assert fitted.item_offset[item] == pytest.approx(sum(deviations) / (rated.sum() + PRIOR))
    assert fitted.item_ratings[item] == rated.sum()


def test_items_of_one_taste_are_similar_and_liked_together() -> None:
    fitted = fit_neighbours(made_up_ratings(users=300, items=12))
    odd, even = slice(1, None, 2), slice(2, None, 2)
    assert fitted.similar[odd, odd].sum() > 10 * fitted.similar[odd, even].sum()
    assert fitted.likes[odd, odd].mean() > fitted.likes[odd, even].mean()
