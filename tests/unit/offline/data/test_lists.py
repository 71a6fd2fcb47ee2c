"""Lists that recall would have made."""

from __future__ import annotations

import numpy as np

from data_exchange_center.channels import HistorySum
from offline.data.lists import recall_lists
from offline.data.requests import Points
from offline.data.sequences import Sequences


def test_an_age_beyond_the_four_bytes_is_the_longest_there_is() -> None:
    """Times have up to eleven digits; an age that wraps round would be that of an event to come."""
    items, ratings, times = np.array([1, 2, 3]), np.full(3, 5), np.array([0, 40, 99_999_999_999])
    data = Sequences(np.array([1]), np.arange(4), np.array([0, 3]), items, ratings, ratings > 3, times)
    channel = HistorySum(
        "c", np.zeros((1, 5, 2), np.float32), np.ones((1, 2, 3), np.float32), np.ones((1, 2, 6), np.float32),
        np.ones((2, 2), np.float32), (), np.eye(5, 2, dtype=np.float32), np.zeros(5, np.float32), np.arange(5) > 0,
    )  # fmt: skip
    points, nobody = Points(np.array([0, 0]), np.array([1, 2]), times[1:]), np.zeros((1, 0), int)
    found = recall_lists(data, points, nobody, [channel], [1.0], size=2, history=2)
    assert found.ages.tolist() == [[40, 0], [2**31 - 1, 2**31 - 1]]
