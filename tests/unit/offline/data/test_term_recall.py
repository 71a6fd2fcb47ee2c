from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from data_exchange_center.columns import Columns
from offline.data import term_recall


def test_preferred_genres_are_ordered_by_clicks_then_code() -> None:
    clicks = np.array([[3, 5, 3, 2], [0, 2, 2, 2], [0, 0, 0, 9]], dtype=np.int8)
    assert term_recall.preferred_codes(clicks, at_least=3) == [[2, 1, 3], [], [4]]


def test_seen_items_are_in_order_and_every_user_has_a_row() -> None:
    interactions = pd.DataFrame({Columns.USER: [1, 1, 3], Columns.ITEM: [9, 4, 9]})
    seen = term_recall.seen_items(interactions, pd.Series([1, 2, 3]))
    assert seen.to_numpy().tolist() == [[1, [9, 4]], [2, []], [3, [9]]]


def test_popularity_is_the_share_of_users_who_clicked() -> None:
    rows = [(1, 7, 1), (2, 7, 1), (1, 5, 1), (2, 5, 1), (1, 9, 0), (3, 9, 1), (4, 8, 0)]
    interactions = pd.DataFrame(rows, columns=[Columns.USER, Columns.ITEM, Columns.LABEL])
    found = term_recall.popularity(interactions)
    assert found.to_numpy().tolist() == [[5, 0.5], [7, 0.5], [9, 0.25], [8, 0.0]]


def test_recall_counts_unseen_items_of_preferred_genres() -> None:
    flags = np.array([[1, 0], [1, 1], [1, 0], [0, 1]], dtype=np.int8)
    none = np.array([], dtype=np.int64)
    report = term_recall.evaluate(
        preferred=[[1], [], [1, 2]],
        flags=flags,
        scores=np.array([0.1, 0.2, 0.9, 0.3], dtype=np.float32),
        history=[np.array([1]), none, none],
        targets=[np.array([0, 3]), np.array([2]), np.array([1])],
        size=1,
    )
    # user 1: candidates 0 and 2, the more popular 2 is not wanted; user 2: none; user 3: item 1 has both genres
    assert report["recall_at_1"] == pytest.approx(1 / 3)
    assert report["share_with_preference"] == pytest.approx(2 / 3)
    assert report["candidates"]["p50"] == 2
