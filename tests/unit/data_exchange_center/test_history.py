"""A user's newest events: packed, aged, brought up to date."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from data_exchange_center.history import History, first_of_second, state_as_of
from tests.datasets import STARS

events = st.lists(
    st.tuples(st.integers(1, 2**31 - 1), st.integers(1, 5), st.integers(0, 2**40)),
    max_size=20,
)


def history(rows: list[tuple[int, int, int]]) -> History:
    columns = np.array(rows, dtype=np.int64).reshape(-1, 3).T
    return History(*columns)


def rows_of(one: History) -> list[tuple[int, int, int]]:
    return list(
        zip(
            one.item_numbers.tolist(),
            one.ratings.tolist(),
            one.times.tolist(),
            strict=True,
        )
    )


@given(events)
def test_a_history_survives_the_wire_in_13_bytes_an_event(
    rows: list[tuple[int, int, int]],
) -> None:
    raw = history(rows).pack()
    assert len(raw) == 13 * len(rows)
    found = History.unpack(raw)
    assert rows_of(found) == rows
    assert (
        found.item_numbers.dtype == found.ratings.dtype == found.times.dtype == np.int64
    )


@given(events, st.integers(0, 2**40))
def test_a_request_sees_what_is_older_than_its_second(
    rows: list[tuple[int, int, int]], second: int
) -> None:
    assert rows_of(history(rows).as_of(second)) == [
        row for row in rows if row[2] < second
    ]


def test_of_what_was_seen_only_what_came_later_is_unknown() -> None:
    """An item that was rated before the second, and one that the history is too short for, stay seen."""
    later = history([(4, 5, 200), (2, 3, 100), (9, 4, 40)])
    known, seen = state_as_of(later, np.array([1, 2, 4, 9], np.int32), 100, STARS.had)
    assert (known.item_numbers.tolist(), seen.tolist()) == ([9], [1, 9])
    known, seen = state_as_of(later, np.array([1, 2, 4, 9], np.int32), None, STARS.had)
    assert (known.item_numbers.tolist(), seen.tolist()) == ([4, 2, 9], [1, 2, 4, 9])


def test_the_first_of_a_second_is_that_of_one_user() -> None:
    users = np.array([1, 1, 1, 2, 2, 3])
    times = np.array([5, 7, 7, 7, 7, 7])
    assert first_of_second(users, times).tolist() == [0, 1, 1, 3, 3, 5]
    assert first_of_second(users[1:], times[1:]).tolist() == [
        0,
        0,
        2,
        2,
        4,
    ]  # the first two are of one second
    assert first_of_second(users[:0], times[:0]).tolist() == []
