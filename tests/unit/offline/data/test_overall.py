"""What is said of all events together is the same however many are counted at once."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from offline.data.overall import ERA_KEYS, ERA_S, SECOND_KEYS, Overall
from offline.data.whole_users import added_up

from data_exchange_center.columns import Columns, Split
from offline.data import overall, statistics
from offline.data.sequences import Sequences, sequences

ITEMS = np.arange(1, 6)


def ratings(times: list[int], seed: int = 0) -> pd.DataFrame:
    """Of three users, whose last event is held out."""
    random, n = np.random.default_rng(seed), len(times) + 3
    users = np.sort(np.arange(n) % 3)
    held_out = np.append(np.diff(users) > 0, True)
    seen = np.zeros(n, np.int64)
    seen[~held_out], seen[held_out] = times, 10**10
    return pd.DataFrame(
        {
            Columns.USER: users.astype(np.int32),
            Columns.ITEM: random.integers(1, 6, n).astype(np.int32),
            Columns.RATING: random.integers(1, 6, n).astype(np.int8),
            Columns.TIMESTAMP: seen,
            Columns.SPLIT: np.where(held_out, Split.HOLDOUT, Split.TRAIN),
        }
    )


def past_of(rows: pd.DataFrame) -> Sequences:
    return sequences(rows[rows[Columns.SPLIT] != Split.HOLDOUT], ITEMS, positive_level=3)


@given(
    times=st.lists(
        st.one_of(st.integers(0, 5), st.integers(-3 * ERA_S, 3 * ERA_S), st.integers(0, 10**10)),
        min_size=1,
        max_size=40,
    )
)
def test_of_some_users_after_the_other(times: list[int]) -> None:
    rows = ratings(times)
    users = [some for _, some in rows.groupby(Columns.USER)]
    eras = added_up(pd.concat(map(overall.by_era, users)), ERA_KEYS)
    some = overall.eras_of_recent(eras)
    assert len(some) == 2
    seconds = added_up(pd.concat([overall.by_second(each, some) for each in users]), SECOND_KEYS)
    assert overall.overall(eras, seconds) == Overall.of(past_of(rows))


@pytest.mark.parametrize("statistic", statistics.of_items(), ids=lambda each: each.column.name)
def test_what_items_statistics_count_is_joined(statistic: statistics.ItemStatistic) -> None:
    """And nobody's events change nothing."""
    join = {"sum": np.add, "max": np.maximum, "min": np.minimum}[statistic.joined]
    rows = ratings(list(range(40)), seed=1)
    past = past_of(rows)
    known = Overall.of(past)
    total = statistic.counted(past_of(rows[:0]), known)
    for _, some in rows.groupby(Columns.USER):
        total = join(total, statistic.counted(past_of(some), known))
    assert total.dtype == np.int64
    np.testing.assert_array_equal(total, statistic.counted(past, known))
