from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_exchange_center.columns import Columns
from offline.data import term_recall


def test_preferred_genres_are_ordered_by_clicks_then_code() -> None:
    clicks = np.array([[3, 5, 3, 2], [0, 2, 2, 2], [0, 0, 0, 9]], dtype=np.int8)
    assert term_recall.preferred_codes(clicks, at_least=3) == [[2, 1, 3], [], [4]]


def test_seen_items_are_in_order_once_each_and_none_is_held_out() -> None:
    rows = [(1, 9, "train"), (1, 4, "test"), (1, 9, "test"), (1, 5, "holdout"), (2, 7, "holdout"), (3, 9, "recorded")]
    seen = term_recall.seen_items(pd.DataFrame(rows, columns=[Columns.USER, Columns.ITEM, Columns.SPLIT]))
    assert seen.to_numpy().tolist() == [[1, [9, 4]], [3, [9]]]


def test_popularity_is_the_share_of_users_who_clicked() -> None:
    rows = [(1, 7, 1), (1, 5, 1), (1, 9, 0), (2, 7, 1), (2, 5, 1), (3, 9, 1), (4, 8, 0)]
    ratings = pd.DataFrame(rows, columns=[Columns.USER, Columns.ITEM, Columns.LABEL]).assign(split="train")
    found = term_recall.popularity(term_recall.clicks_by_item(ratings, validation_share=0.0))
    assert found.to_numpy().tolist() == [[5, 0.5], [7, 0.5], [9, 0.25], [8, 0.0]]


def test_recall_counts_unseen_items_of_preferred_genres() -> None:
    flags = np.array([[1, 0], [1, 1], [1, 0], [0, 1]], dtype=np.int8)
    none = np.array([], dtype=np.int64)
    counts = term_recall.outcomes_of(
        preferred=[[1], [], [1, 2]],
        flags=flags,
        scores=np.array([0.1, 0.2, 0.9, 0.3], dtype=np.float32),
        history=[np.array([1]), none, none],
        targets=[np.array([0, 3]), np.array([2]), np.array([1])],
        size=1,
    )
    report = term_recall.report(counts, 1)
    # user 1: candidates 0 and 2, the more popular 2 is not wanted; user 2: none; user 3: item 1 has both genres
    assert report["recall_at_1"] == pytest.approx(1 / 3)
    assert report["share_with_preference"] == pytest.approx(2 / 3)
    assert report["candidates"]["p50"] == 2
    assert (report["users"], report["users_with_target"]) == (3, 3)


@given(counts=st.lists(st.integers(0, 40), min_size=1, max_size=30))
def test_quantiles_of_counts_are_those_of_what_is_counted(counts: list[int]) -> None:
    rows = [(term_recall.CANDIDATES, each, 99) for each in counts]
    found = term_recall.report(term_recall._counted(rows), 1)["candidates"]
    assert found == pytest.approx({f"p{q}": np.percentile(counts, q) for q in (10, 50, 90)})
