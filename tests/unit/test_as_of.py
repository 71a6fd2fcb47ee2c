"""The first event of each second, from which on a request of that second sees nothing."""

from __future__ import annotations

import numpy as np

from data_exchange_center.history import first_of_second


def test_the_first_of_a_second_is_that_of_one_user() -> None:
    users, times = np.array([1, 1, 1, 2, 2, 3]), np.array([5, 7, 7, 7, 7, 7])
    assert first_of_second(users, times).tolist() == [0, 1, 1, 3, 3, 5]
    assert first_of_second(users[1:], times[1:]).tolist() == [0, 0, 2, 2, 4]  # the first two are of one second
    assert first_of_second(users[:0], times[:0]).tolist() == []
