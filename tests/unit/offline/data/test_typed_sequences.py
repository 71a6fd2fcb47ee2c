"""Sequences of events of several types: what is left out, and what can be a target."""

import numpy as np
import pandas as pd

from data_exchange_center.columns import Columns
from offline.data.sequences import Points, Sequences, seen_before, sequences
from tests.unit.data_exchange_center.test_event_types import (
    BUY,
    CART,
    TYPES,
    VIEW,
)

ROWS = [  # of two users: item, type
    (1, 10, VIEW),
    (1, 10, CART),
    (1, 11, VIEW),
    (1, 10, BUY),
    (1, 10, VIEW),
    (1, 11, VIEW),
    (2, 11, BUY),
    (2, 11, CART),
]


def data() -> Sequences:
    frame = pd.DataFrame(ROWS, columns=[Columns.USER, Columns.ITEM, Columns.RATING])
    frame[Columns.TIMESTAMP] = range(len(frame))
    return sequences(frame, [10, 11], positive_level=3, types=TYPES)


def test_what_was_bought_is_left_out() -> None:
    assert data().left_out().toarray().tolist() == [[0, 1, 0], [0, 0, 1]]
    whole = data().seen().toarray().tolist()
    assert whole == [[0, 1, 1], [0, 0, 1]], "of any type"


def test_a_target_is_the_first_of_its_type_before_the_item_is_had() -> None:
    found = data().targets.tolist()
    assert found == [True, True, True, True, False, False, True, False]


def test_a_request_leaves_out_what_was_had_before_it() -> None:
    points = Points(np.array([0, 0]), np.array([3, 5]), np.array([3, 5]))
    rows, items = seen_before(data(), points)
    assert (rows.tolist(), items.tolist()) == ([1], [1])
