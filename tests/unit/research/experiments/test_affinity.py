from __future__ import annotations

import numpy as np
import pytest

from research.experiments.affinity import COLUMNS, folds_of_users, point_in_time
from tests.unit.offline.data.ratings import made_up_ratings, turned

FOLDS, EVENTS, USER = 3, 10, 3
DATA = made_up_ratings(events=EVENTS)
TRAINED = DATA.positions < 8
BEFORE = point_in_time(DATA, TRAINED, FOLDS)
OWN = DATA.users == USER


def test_every_event_has_every_column() -> None:
    assert BEFORE.shape == (len(DATA.items), len(COLUMNS))
    assert np.isfinite(BEFORE).all()
    late = BEFORE[DATA.positions == EVENTS - 1]
    same_for_all = [name for name, column in zip(COLUMNS, late.T, strict=True) if len(np.unique(column)) == 1]
    assert same_for_all == ["user_ratings"]


@pytest.mark.parametrize("position", [0, 4, 7, 9])
def test_the_own_rating_and_what_comes_later_change_nothing(position: int) -> None:
    after = point_in_time(turned(DATA, OWN & (DATA.positions >= position)), TRAINED, FOLDS)
    known = OWN & (DATA.positions <= position)
    assert np.array_equal(after[known], BEFORE[known])
    if position < EVENTS - 1:
        assert not np.array_equal(after[OWN & ~known], BEFORE[OWN & ~known])


def test_rows_that_are_not_trained_on_change_only_later_rows_of_their_user() -> None:
    first_test_row = OWN & (DATA.positions == 8)
    after = point_in_time(turned(DATA, first_test_row), TRAINED, FOLDS)
    later = OWN & (DATA.positions > 8)
    assert np.array_equal(after[~later], BEFORE[~later])
    assert not np.array_equal(after[later], BEFORE[later])


def test_all_test_ratings_together_change_no_training_row() -> None:
    after = point_in_time(turned(DATA, ~TRAINED), TRAINED, FOLDS)
    assert np.array_equal(after[TRAINED], BEFORE[TRAINED])


def test_models_leave_out_the_users_whole_fold() -> None:
    fold = folds_of_users(DATA.n_users, FOLDS)
    companions = (fold == fold[USER])[DATA.users] & ~OWN
    strangers = (fold != fold[USER])[DATA.users]
    assert companions.any()
    assert np.array_equal(point_in_time(turned(DATA, companions), TRAINED, FOLDS)[OWN], BEFORE[OWN])
    assert not np.array_equal(point_in_time(turned(DATA, strangers), TRAINED, FOLDS)[OWN], BEFORE[OWN])


def test_folds_are_equally_large() -> None:
    assert np.bincount(folds_of_users(10, 3)).tolist() == [4, 3, 3]


def test_ratings_of_one_second_do_not_see_each_other() -> None:
    data = made_up_ratings(events=EVENTS, of_one_second=2)
    before = point_in_time(data, TRAINED, FOLDS)
    after = point_in_time(turned(data, OWN & (data.positions == 4)), TRAINED, FOLDS)
    same = OWN & (data.positions <= 5)
    assert np.array_equal(after[same], before[same])
    assert not np.array_equal(after[OWN & (data.positions == 6)], before[OWN & (data.positions == 6)])


def test_a_user_without_ratings_is_passed_over() -> None:
    some = DATA.select(~OWN)
    assert np.isfinite(point_in_time(some, some.positions < 8, FOLDS)).all()
