from __future__ import annotations

import numpy as np
import pytest

from research.experiments.rating_factors import (
    DRIFT_EVENTS,
    DRIFT_VARIANCE,
    USER_VARIANCE,
    RatingFactors,
    expected_ratings,
    fit_factors,
)
from tests.unit.offline.data.ratings import made_up_ratings

MODEL = RatingFactors(
    item_mean=np.array([3.5, 4.0, 3.0, 3.6, 2.8]),
    loadings=np.array([[0, 0], [0.6, 0.1], [0.5, -0.4], [-0.3, 0.7], [0.2, 0.2]]),
    noise=0.5,
)


def test_second_rating_by_hand() -> None:
    mean, deviation = expected_ratings(MODEL, np.array([1, 2]), np.array([5, 1]), np.array([10, 20]))
    shared = 0.6 * 0.5 - 0.1 * 0.4 + USER_VARIANCE + DRIFT_VARIANCE * np.exp(-1 / DRIFT_EVENTS)
    known = 0.6**2 + 0.1**2 + USER_VARIANCE + DRIFT_VARIANCE + 0.5
    own = 0.5**2 + 0.4**2 + USER_VARIANCE + DRIFT_VARIANCE
    assert mean == pytest.approx([4.0, 3.0 + shared / known * (5 - 4.0)])
    assert deviation[1] == pytest.approx(np.sqrt(own - shared**2 / known))


def test_every_rating_is_that_of_a_regression_on_the_earlier_seconds() -> None:
    items, ratings = np.array([1, 4, 2, 3, 2]), np.array([5, 3, 1, 4, 2])
    times = np.array([10, 20, 20, 30, 30])
    mean, deviation = expected_ratings(MODEL, items, ratings, times)
    order = np.arange(5)
    drift = DRIFT_VARIANCE * np.exp(-np.abs(order[:, None] - order) / DRIFT_EVENTS)
    covariance = MODEL.loadings[items] @ MODEL.loadings[items].T + USER_VARIANCE + drift
    residual = ratings - MODEL.item_mean[items]
    for now in range(5):
        earlier = np.flatnonzero(times < times[now])
        weights = np.linalg.solve(
            covariance[np.ix_(earlier, earlier)] + MODEL.noise * np.eye(len(earlier)), covariance[earlier, now]
        )
        assert mean[now] == pytest.approx(MODEL.item_mean[items[now]] + weights @ residual[earlier])
        left = covariance[now, now] - weights @ covariance[earlier, now]
        assert deviation[now] == pytest.approx(np.sqrt(left))


def test_taste_of_a_new_user_is_found_from_earlier_ratings() -> None:
    data = made_up_ratings(users=400, items=12)
    model = fit_factors(data, dim=2)
    assert model.noise < 0.5 * data.ratings.var()
    odd_items, even_items = np.array([1, 3, 5, 7, 2]), np.array([2, 4, 6, 8, 1])
    for items in (odd_items, even_items):
        mean, deviation = expected_ratings(model, items, np.array([5, 5, 5, 5, 2]), np.arange(5))
        assert mean[3] > mean[0] + 0.5  # one more of what was liked
        assert mean[4] < mean[3] - 1.0  # one of the others
        assert deviation[3] < deviation[0]


def test_an_item_never_rated_has_the_overall_mean_and_no_taste() -> None:
    data = made_up_ratings()
    wider = fit_factors(data.select(data.items != 5), dim=2)
    rest = data.ratings[data.items != 5]
    assert wider.item_mean[5] == pytest.approx(rest.mean())
    assert np.abs(wider.loadings[5]).max() == pytest.approx(0)


def test_the_mean_of_a_single_rating_is_shrunk_to_the_overall_mean() -> None:
    data = made_up_ratings(users=60, items=12)
    first = np.flatnonzero((data.items == 5) & (data.ratings == 5))[0]
    data = data.select((data.items != 5) | (np.arange(len(data.items)) == first))
    overall = data.ratings.mean()
    assert 0 < fit_factors(data, dim=1).item_mean[5] - overall < (5 - overall) / 2


def test_the_same_seed_gives_the_same_model() -> None:
    data = made_up_ratings()
    first, again = fit_factors(data, dim=2, seed=1), fit_factors(data, dim=2, seed=1)
    assert np.array_equal(first.loadings, again.loadings)
