import numpy as np
import pandas as pd
from hypothesis import example, given
from hypothesis import strategies as st

from data_exchange_center.columns import Columns, Split
from offline.data.split import label_and_split, validation_mask
from tests.datasets import STARS

RATINGS = st.lists(
    st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(0, 12)), max_size=150
)


def table(rows: list[tuple[int, int, int]]) -> pd.DataFrame:
    """Ratings in file order; itemid is the row's number."""
    frame = pd.DataFrame(
        rows, columns=[Columns.USER, Columns.RATING, Columns.TIMESTAMP], dtype="int64"
    )
    return frame.assign(**{Columns.ITEM: np.arange(len(rows))})


@given(RATINGS)
@example(
    [(1, 4, time) for time in range(15)]
)  # of five offline rows exactly four train
@example([(1, 4, time) for time in range(11)])
def test_the_split_is_what_a_loop_over_users_gives(
    rows: list[tuple[int, int, int]],
) -> None:
    found = label_and_split(table(rows), STARS, 0.8)
    expected = []
    for user in sorted({row[0] for row in rows}):
        of_user = sorted(
            (
                (time, place, rating)
                for place, (u, rating, time) in enumerate(rows)
                if u == user
            ),
            key=lambda row: row[:2],
        )
        offline = len(of_user) - 10
        for k, (_, place, rating) in enumerate(of_user):
            part = (
                Split.HOLDOUT
                if k >= offline
                else Split.TRAIN
                if k < 0.8 * offline
                else Split.TEST
            )
            expected.append((user, place, int(rating > 3), part))
    columns = [Columns.USER, Columns.ITEM, Columns.LABEL, Columns.SPLIT]
    assert list(found[columns].itertuples(index=False, name=None)) == expected


@given(
    RATINGS,
    st.lists(
        st.tuples(st.integers(1, 6), st.integers(1, 5), st.integers(0, 20)), max_size=40
    ),
)
def test_feedback_is_trained_on_and_moves_no_other_row(
    rows: list[tuple[int, int, int]], reported: list[tuple[int, int, int]]
) -> None:
    recorded = np.arange(len(rows) + len(reported)) >= len(rows)
    found = label_and_split(table(rows + reported), STARS, 0.8, recorded)
    is_reported = found[Columns.ITEM] >= len(rows)
    assert (found.loc[is_reported, Columns.SPLIT] == Split.RECORDED).all()
    own = found[~is_reported].reset_index(drop=True)
    assert own.equals(label_and_split(table(rows), STARS, 0.8))


@given(st.lists(st.integers(0, 30), max_size=8), st.floats(0, 0.9))
def test_validation_is_the_end_of_every_user(sizes: list[int], share: float) -> None:
    users = pd.Series(np.repeat(np.arange(len(sizes)), sizes))
    mask = validation_mask(users, share)
    for user, size in enumerate(sizes):
        own = mask[(users == user).to_numpy()].tolist()
        held_out = int(np.floor(size * share))
        assert own == [False] * (size - held_out) + [True] * held_out
