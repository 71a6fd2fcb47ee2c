"""Lists become rows as the server makes them, one request at a time."""

from __future__ import annotations

import numpy as np
import pandas as pd

from data_exchange_center.features import Float32
from data_exchange_center.history import History
from data_exchange_center.recipes import DEFAULT, ListRankerRecipe
from offline.data.lists import Lists, StoredFeatures
from offline.data.statistics import item_statistics, list_spec, user_statistics, user_statistics_after
from tests.unit.offline.data.ratings import made_up_lists
from tests.unit.offline.models.test_stages import inputs_of

NOW = 10**6
INPUTS = inputs_of(np.arange(39))
RANKER = ListRankerRecipe(history=4)
SPEC = list_spec(INPUTS, DEFAULT, RANKER)
STORED = StoredFeatures.of(INPUTS.data, INPUTS, SPEC, DEFAULT)


def lists_of(users: list[int]) -> Lists:
    """One list a user: three candidates, the last two of another length than the history."""
    random, m = np.random.default_rng(1), len(users)
    return made_up_lists(
        random.permutation(np.arange(1, 31))[: 3 * m].reshape(m, 3).astype(np.int32),
        random.normal(size=(m, 3, len(SPEC.candidate))).astype(np.float16),
        users=np.array(users, np.int32),
        times=np.full(m, NOW),
        lengths=np.arange(m, dtype=np.int32) + 7,
        statistics=user_statistics_after(INPUTS.data, np.array(users), np.arange(m) + 7),
        events=random.integers(1, 30, (m, 4)).astype(np.int32),
        ratings=random.integers(1, 6, (m, 4)).astype(np.int8),
        ages=random.integers(0, 10**5, (m, 4)).astype(np.int32),
    )


def as_served(lists: Lists, row: int) -> Float32:
    """The rows of one list, from raw values by id."""
    past, user = INPUTS.data, int(lists.users[row])
    begun = past.select(past.positions < np.where(past.users == user, lists.lengths[row], past.lengths[past.users]))
    users = user_statistics(begun, INPUTS.users).iloc[[user]]
    items = item_statistics(past, INPUTS).iloc[lists.candidates[row] - 1]
    itemids, times = past.itemids[lists.events[row] - 1], NOW - lists.ages[row].astype(np.int64)
    history = History(itemids, lists.ratings[row].astype(np.int64), times)

    def raw(frame: pd.DataFrame) -> dict[str, object]:
        return {str(name): column.to_numpy() for name, column in frame.items()}

    return SPEC.assemble(
        SPEC.encode_users(raw(users)),
        SPEC.encode_items(raw(items)),
        NOW,
        SPEC.encode_candidates(SPEC.candidate, lists.features[row]),
        SPEC.encode_history(history, NOW),
    )


def test_a_training_row_is_the_row_that_would_be_served() -> None:
    lists = lists_of([3, 17, 8])
    rows = STORED.rows(lists)
    assert rows.shape == (3, 3, SPEC.width)
    for number in range(len(lists)):
        assert np.array_equal(rows[number], as_served(lists, number))


def test_padding_is_a_row_of_zeros_but_for_the_user() -> None:
    lists = lists_of([3])
    lists.candidates[0, 2] = 0
    lists.features[0, 2] = 0
    last = STORED.rows(lists)[0, 2]
    of_items = [SPEC.columns.index(feature.name) for feature in SPEC.of("item")]
    assert not last[of_items].any()
    assert not last[SPEC.candidate_slice].any()
    assert last[SPEC.history_slice].any()
