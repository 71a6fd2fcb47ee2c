from __future__ import annotations

import numpy as np
import pytest

from offline.data.sequences import Sequences
from offline.models.list_ranker import crossed_log_odds


@pytest.fixture
def data() -> Sequences:
    items, ratings = np.array([1, 2, 1, 3, 1]), np.array([5, 2, 4, 4, 1])
    return Sequences(
        np.array([7, 9]), np.array([10, 20, 30]), np.array([0, 2, 5]), items, ratings, ratings > 3, np.arange(5) * 100
    )


def test_crossed_log_odds_are_positive_where_a_group_likes_an_item_more(data: Sequences) -> None:
    odds = crossed_log_odds(data, np.array([0, 1]), 2)
    assert odds[1, 3] > 0 > odds[0, 3]
