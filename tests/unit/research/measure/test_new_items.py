"""The study of new items: which are held out, and what is known of who likes them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import scipy.sparse as sp

from data_exchange_center.columns import Columns
from offline.data.sequences import Sequences, sequences
from research.measure import new_items


def past() -> Sequences:
    """Users 1 to 3, who like items 10, 20, 30 and 40 (codes 1 to 4) at their own times, and dislike 50."""
    rows = [(1, 10, 5, 1), (1, 20, 5, 2), (1, 30, 5, 3), (2, 50, 1, 1), (2, 30, 5, 9), (3, 40, 5, 4), (3, 30, 5, 5)]
    frame = pd.DataFrame(rows, columns=[Columns.USER, Columns.ITEM, Columns.RATING, Columns.TIMESTAMP])
    return sequences(frame, [10, 20, 30, 40, 50], 3)


def test_a_like_is_known_by_what_was_liked_before() -> None:
    data, codes = past(), np.array([3])
    rows = np.arange(6, dtype=np.float32)[:, None]
    found = new_items.liked_before(data, new_items.without(data, codes), rows, codes)
    assert found[0, :2, 0].tolist() == [1.5, 4]  # the first had liked 10 and 20, the next one 40, the last one nothing
    assert np.isnan(found[0, 2:]).all()


def test_items_are_drawn_of_those_with_likes_before_and_after() -> None:
    data = past()
    relevance = sp.csr_matrix(np.array([[0, 0, 1, 1, 0, 0]] * 3, np.float32))
    chosen, reported = new_items.drawn(data, relevance)
    assert not len(chosen)  # none has `LEAST` likes
    assert not len(reported)
    assert 3 not in new_items.without(data, np.array([3])).items
