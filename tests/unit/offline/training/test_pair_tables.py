"""The list ranker's tables of pairs."""

from __future__ import annotations

import numpy as np
import pytest

from offline.data.sequences import Sequences
from offline.training.item_item import ease
from offline.training.pair_tables import EASE_SCALE, PRIOR, SCALE, WIDTH, pair_tables, paired_places


@pytest.fixture
def data() -> Sequences:
    """Items 2, 3 and 4 are rated three, two and two times, item 1 once, item 5 never."""
    items = np.array([2, 3, 4, 2, 4, 1, 2, 3])
    ratings = np.array([5, 5, 2, 4, 5, 1, 5, 5])
    starts = np.array([0, 3, 5, 8])
    return Sequences(np.arange(3), np.arange(10, 15), starts, items, ratings, ratings > 3, np.arange(8))


def test_the_most_rated_items_have_places_in_the_order_of_their_codes(data: Sequences) -> None:
    together = data.seen_together()
    assert paired_places(together, 2).tolist() == [0, 0, 1, 2, 0, 0]  # 4 has as many ratings as 3, and a larger code
    assert paired_places(together, 9).tolist() == [0, 1, 2, 3, 4, 5]
    assert not paired_places(together, 0).any()


def test_a_table_says_how_likely_an_item_is_liked_soon_after_another(data: Sequences) -> None:
    places = paired_places(data.seen_together(), 3)
    followed, _ = pair_tables(data.followers(2), data.seen_together(), places, l2=5)
    assert followed.shape == (4, 4)
    assert followed.dtype == np.float16
    # 2 is followed by three likes, two of which are 3
    assert followed[1, 2] == pytest.approx(np.log1p(SCALE * 2 / (3 + PRIOR)) / WIDTH, rel=1e-3)
    assert followed[2, 1] == 0
    assert not followed[0].any()
    assert not followed[:, 0].any()


def test_a_table_has_eases_weights(data: Sequences) -> None:
    places = paired_places(data.seen_together(), 5)
    _, weights = pair_tables(data.followers(2), data.seen_together(), places, l2=5)
    expected = EASE_SCALE * ease(data.seen(), 5)
    assert weights[1:, 1:] == pytest.approx(expected[1:, 1:], abs=1e-2)
    assert not weights.diagonal().any()
