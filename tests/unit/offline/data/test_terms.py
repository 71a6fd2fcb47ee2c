from __future__ import annotations

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from data_exchange_center.columns import Columns
from offline.data import terms

N_ITEMS, N_GENRES = 6, 3
FLAGS = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [1, 1, 1]], dtype=np.int8)
ROWS = st.lists(
    st.tuples(st.integers(1, 3), st.integers(0, 8), st.integers(0, 1), st.integers(0, N_ITEMS - 1)), max_size=60
)


def table(rows: list[tuple[int, int, int, int]]) -> pd.DataFrame:
    """Sorted by user and time, ties as they come."""
    frame = pd.DataFrame(rows, columns=[Columns.USER, Columns.TIMESTAMP, Columns.LABEL, "item"], dtype="int64")
    return frame.sort_values([Columns.USER, Columns.TIMESTAMP], kind="stable", ignore_index=True)


def counted(past: list[tuple[int, int, int, int]], window: int) -> list[int]:
    state = [0] * (2 * N_GENRES)
    for _, _, label, item in past[-window:]:
        for genre in range(N_GENRES):
            state[genre] += int(FLAGS[item, genre])
            state[N_GENRES + genre] += int(FLAGS[item, genre]) * label
    return state


@given(ROWS, st.integers(1, 12))
def test_statistics_are_what_a_loop_over_the_past_gives(rows: list[tuple[int, int, int, int]], window: int) -> None:
    frame = table(rows)
    ordered = list(frame.itertuples(index=False, name=None))
    expected = [
        counted([other for other in ordered if other[0] == row[0] and other[1] < row[1]], window) for row in ordered
    ]
    assert terms.terms_before(frame, FLAGS, window).tolist() == expected


@given(ROWS, st.integers(0, 59), st.integers(1, 12))
def test_a_row_sees_nothing_of_itself_or_of_later(
    rows: list[tuple[int, int, int, int]], which: int, window: int
) -> None:
    frame = table(rows)
    if frame.empty:
        return
    row = which % len(frame)
    changed = frame.copy()
    late = (frame[Columns.USER] == frame[Columns.USER][row]) & (
        frame[Columns.TIMESTAMP] >= frame[Columns.TIMESTAMP][row]
    )
    changed.loc[late, Columns.LABEL] = 1 - changed.loc[late, Columns.LABEL]
    changed.loc[late, "item"] = (changed.loc[late, "item"] + 1) % N_ITEMS
    before, after = (terms.terms_before(table_, FLAGS, window)[row] for table_ in (frame, changed))
    assert before.tolist() == after.tolist()


@given(ROWS, st.integers(1, 12))
def test_the_served_state_is_what_the_next_interaction_would_see(
    rows: list[tuple[int, int, int, int]], window: int
) -> None:
    frame = table(rows)
    users, newest = terms.newest_terms(frame, FLAGS, window)
    assert users.tolist() == sorted(set(frame[Columns.USER]))
    following = pd.DataFrame({Columns.USER: users, Columns.TIMESTAMP: 99, Columns.LABEL: 0, "item": 0})
    longer = pd.concat([frame, following]).sort_values([Columns.USER, Columns.TIMESTAMP], kind="stable")
    seen = terms.terms_before(longer.reset_index(drop=True), FLAGS, window)
    assert newest.tolist() == seen[(longer[Columns.TIMESTAMP] == 99).to_numpy()].tolist()


def test_genre_codes_are_alphabetical_from_one() -> None:
    items = pd.DataFrame({Columns.ITEM: [4, 9, 11], Columns.GENRES: [["War", "Action"], [], ["Sci-Fi"]]})
    genres = terms.genre_names(items)
    codes = terms.genre_codes(items, genres)
    assert genres == ["Action", "Sci-Fi", "War"]
    assert codes[Columns.GENRES].tolist() == [[1, 3], [], [2]]
    assert terms.genre_flags(codes, 3).tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0]]


def test_a_few_users_after_the_other_have_the_terms_of_all_at_once() -> None:
    """An engine calls these with as many users as it holds."""
    random = np.random.default_rng(3)
    users = np.sort(random.integers(1, 9, 60)).astype(np.int32)
    ratings = pd.DataFrame(
        {
            "userid": users,
            "itemid": random.integers(1, 5, 60).astype(np.int32),
            "timestamp": 5 * users + np.sort(random.integers(0, 3, 60)),
            "label": random.integers(0, 2, 60).astype(np.int8),
            "split": random.choice(["train", "test", "holdout"], 60),
        }
    ).sort_values(["userid", "timestamp"], kind="stable", ignore_index=True)
    item_terms = pd.DataFrame({"itemid": [1, 2, 3, 4], "genres": [[1], [2], [1, 2], []]})
    for function in (terms.impression_terms, terms.user_terms):
        at_once = function(ratings, item_terms, ["a", "b"], 4)
        one_by_one = [function(part, item_terms, ["a", "b"], 4) for _, part in ratings.groupby("userid")]
        pd.testing.assert_frame_equal(pd.concat(one_by_one, ignore_index=True), at_once)
        nothing = function(ratings[:0], item_terms, ["a", "b"], 4)
        assert nothing.dtypes.equals(at_once.dtypes)
