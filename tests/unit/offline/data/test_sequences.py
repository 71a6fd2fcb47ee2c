"""Sequences of events: what a request sees, what is left out, and what can be a target."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_exchange_center.columns import Columns
from offline.data.sequences import (
    Points,
    Sequences,
    histories,
    next_events,
    request_points,
    seen_before,
    sequences,
)
from tests.unit.data_exchange_center.test_events import (
    BUY,
    CART,
    TYPES,
    VIEW,
)


def ratings(lengths: list[int]) -> pd.DataFrame:
    n = sum(lengths)
    return pd.DataFrame(
        {
            "userid": np.repeat(np.arange(len(lengths)) * 3 + 1, lengths),
            "itemid": np.arange(n) * 2 + 10,
            "rating": np.arange(n) % 5 + 1,
            "timestamp": np.arange(n) * 1800,
        }
    )


def made(lengths: list[int]) -> Sequences:
    frame = ratings(lengths)
    return sequences(frame, frame["itemid"].tolist(), positive_level=3)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.integers(1, 12), min_size=1, max_size=5),
    st.integers(1, 5),
    st.sampled_from([1, 1800 * 3]),
)
def test_a_request_sees_strictly_earlier_events(
    lengths: list[int], stride: int, a_second: int
) -> None:
    data = made(lengths)
    data = replace(data, times=data.times // a_second)
    points = request_points(data, stride, np.random.default_rng(0))
    assert np.all(points.positions > 0)
    assert len(
        {*zip(points.users.tolist(), points.times.tolist(), strict=True)}
    ) == len(points)
    items, _, ages = histories(data, points, 4)
    after, _, _ = next_events(data, points, 3)
    rows, seen = seen_before(data, points)
    for row in range(len(points)):
        start, position = data.starts[points.users[row]], points.positions[row]
        own = data.items[start : data.starts[points.users[row] + 1]]
        times = data.times[start : data.starts[points.users[row] + 1]]
        assert points.times[row] == times[position] > times[position - 1]
        newest = own[:position][::-1][:4].tolist()
        assert items[row].tolist() == newest + [0] * (4 - len(newest))
        assert after[row, 0] == own[position]
        assert sorted(seen[rows == row]) == sorted(own[:position])
    assert np.all(ages[items > 0] > 0)


def test_an_item_outside_the_vocabulary_is_an_error() -> None:
    with pytest.raises(ValueError, match="item 12"):
        sequences(ratings([2]), [10, 14], 3)


def test_the_same_item_again_is_seen_once_and_no_target() -> None:
    frame = ratings([5])
    frame["itemid"] = [10, 12, 10, 14, 14]
    frame["rating"] = 5
    data = sequences(frame, [10, 12, 14], 3)
    assert data.seen().toarray().tolist() == [[0, 1, 1, 1]]
    assert data.targets.tolist() == [True, True, False, True, False]
    after, liked, _ = next_events(
        data, Points(np.array([0]), np.array([2]), data.times[2:3]), 3
    )
    assert after.tolist() == [[1, 3, 3]]
    assert liked.tolist() == [[False, True, False]]


def test_together_is_by_users_however_often_they_liked() -> None:
    rows = pd.DataFrame(
        {
            "userid": [1, 1, 1, 2, 2],
            "itemid": [5, 7, 5, 5, 7],
            "rating": [4, 4, 5, 4, 3],
            "timestamp": range(5),
        }
    )
    counts = sequences(rows, np.arange(1, 12), positive_level=3).liked_together()
    assert (counts[5, 5], counts[5, 7], counts[7, 5], counts[7, 7], counts.sum()) == (
        2,
        1,
        1,
        1,
        5,
    )


TYPED_ROWS = [  # of two users: item, type
    (1, 10, VIEW),
    (1, 10, CART),
    (1, 11, VIEW),
    (1, 10, BUY),
    (1, 10, VIEW),
    (1, 11, VIEW),
    (2, 11, BUY),
    (2, 11, CART),
]


def typed() -> Sequences:
    frame = pd.DataFrame(
        TYPED_ROWS, columns=[Columns.USER, Columns.ITEM, Columns.RATING]
    )
    frame[Columns.TIMESTAMP] = range(len(frame))
    return sequences(frame, [10, 11], positive_level=3, types=TYPES)


def test_what_was_bought_is_left_out() -> None:
    assert typed().left_out().toarray().tolist() == [[0, 1, 0], [0, 0, 1]]
    whole = typed().seen().toarray().tolist()
    assert whole == [[0, 1, 1], [0, 0, 1]], "of any type"


def test_a_target_is_the_first_of_its_type_before_the_item_is_had() -> None:
    found = typed().targets.tolist()
    assert found == [True, True, True, True, False, False, True, False]


def test_a_request_leaves_out_what_was_had_before_it() -> None:
    points = Points(np.array([0, 0]), np.array([3, 5]), np.array([3, 5]))
    rows, items = seen_before(typed(), points)
    assert (rows.tolist(), items.tolist()) == ([1], [1])
