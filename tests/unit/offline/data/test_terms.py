import re

import numpy as np
import pandas as pd
from hypothesis import example, given
from hypothesis import strategies as st

from data_exchange_center.columns import Columns
from offline.data import terms

N_ITEMS, GENRES = 6, ["a", "b", "c"]
FLAGS = np.array(
    [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [1, 1, 1]], dtype=np.int8
)
CODES = [(np.flatnonzero(row) + 1).tolist() for row in FLAGS]
ITEM_TERMS = pd.DataFrame({Columns.ITEM: range(N_ITEMS), Columns.GENRES: CODES})
ROWS = st.lists(
    st.tuples(
        st.integers(1, 3),
        st.integers(0, 8),
        st.integers(0, 1),
        st.integers(0, N_ITEMS - 1),
    ),
    max_size=60,
)


def table(rows: list[tuple[int, int, int, int]]) -> pd.DataFrame:
    """Sorted by user and time, ties as they come."""
    frame = pd.DataFrame(
        rows,
        columns=[Columns.USER, Columns.TIMESTAMP, Columns.LABEL, Columns.ITEM],
        dtype="int64",
    )
    return frame.sort_values(
        [Columns.USER, Columns.TIMESTAMP], kind="stable", ignore_index=True
    )


def counted(past: list[tuple[int, int, int, int]], window: int) -> list[int]:
    state = [0] * (2 * len(GENRES))
    for _, _, label, item in past[-window:]:
        for genre in range(len(GENRES)):
            state[genre] += int(FLAGS[item, genre])
            state[len(GENRES) + genre] += int(FLAGS[item, genre]) * label
    return state


@given(ROWS, st.integers(1, 12))
def test_statistics_are_what_a_loop_over_the_past_gives(
    rows: list[tuple[int, int, int, int]], window: int
) -> None:
    frame = table(rows)
    ordered = list(frame.itertuples(index=False, name=None))
    expected = [
        counted(
            [other for other in ordered if other[0] == row[0] and other[1] < row[1]],
            window,
        )
        for row in ordered
    ]
    found = terms.impression_terms(frame, ITEM_TERMS, GENRES, window)
    assert (
        found[terms.columns_of(GENRES, terms.IMPRESSIONS, terms.CLICKS)]
        .to_numpy()
        .tolist()
        == expected
    )


def test_genre_codes_are_alphabetical_from_one() -> None:
    items = pd.DataFrame(
        {Columns.ITEM: [4, 9, 11], Columns.GENRES: [["War", "Action"], [], ["Sci-Fi"]]}
    )
    genres = terms.genre_names(items)
    codes = terms.genre_codes(items, genres)
    assert genres == ["Action", "Sci-Fi", "War"]
    assert codes[Columns.GENRES].tolist() == [[1, 3], [], [2]]
    assert terms.genre_flags(codes[Columns.GENRES], 3).tolist() == [
        [1, 0, 1],
        [0, 0, 0],
        [0, 1, 0],
    ]


def test_items_are_seen_once_and_by_some_users_none() -> None:
    rows = [(1, 9), (1, 4), (1, 9), (3, 4)]
    past = pd.DataFrame(rows, columns=[Columns.USER, Columns.ITEM])
    seen = terms.seen_items(past, pd.Series([1, 2, 3, 5], name=Columns.USER))
    found = [[user, each.tolist()] for user, each in seen.to_numpy()]
    assert found == [[1, [9, 4]], [2, []], [3, [4]], [5, []]]


def test_preferred_genres_are_ordered_by_clicks_then_code() -> None:
    clicks = np.array([[3, 5, 3, 2], [0, 2, 2, 2], [0, 0, 0, 9]], dtype=np.int8)
    counted = pd.DataFrame(
        clicks, columns=terms.columns_of("abcd", terms.CLICKS)
    ).assign(userid=[1, 2, 3])
    assert terms.preferences(counted, "abcd", at_least=3)[Columns.GENRES].tolist() == [
        [2, 1, 3],
        [],
        [4],
    ]


def test_popularity_is_the_share_of_users_who_clicked() -> None:
    rows = [
        (1, 7, 1),
        (1, 5, 1),
        (1, 5, 1),
        (1, 9, 0),
        (2, 7, 1),
        (2, 5, 1),
        (3, 9, 1),
        (4, 8, 0),
    ]
    past = pd.DataFrame(rows, columns=[Columns.USER, Columns.ITEM, Columns.LABEL])
    found = terms.popularity(*terms.clicked_items(past))
    assert found.to_numpy().tolist() == [[5, 0.5], [7, 0.5], [9, 0.25], [8, 0.0]]


# Column names out of any names


NAME = st.text(max_size=80) | st.sampled_from(["C", "C++", "c", *Columns.TAKEN])


@given(st.lists(NAME, unique=True, max_size=30))
@example(["C", "C++", "C#", "映画", "", "Title", "title"])
def test_slugs_are_different_in_any_order_and_fit_every_store(
    names: list[str],
) -> None:
    made = terms.slugs(names, Columns.TAKEN)
    assert terms.slugs(names[::-1], Columns.TAKEN) == made[::-1]
    assert len(set(made)) == len(names)
    assert not set(made) & Columns.TAKEN
    for each in made:
        assert re.fullmatch(r"[a-z0-9_]+", each)
        assert len(each) <= terms.LONGEST_SLUG
