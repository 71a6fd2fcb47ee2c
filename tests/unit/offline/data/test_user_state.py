"""Users' state: what a store holds of each user's past."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa
from offline.data.whole_users import for_everybody

from data_exchange_center import artifacts
from data_exchange_center.columns import Split
from data_exchange_center.feature_kinds import one_hot
from offline.data import user_state
from offline.engines.in_memory import PandasEngine
from offline.recall.s1_term_recall import write_user_state

RATINGS = pd.DataFrame(
    {
        "userid": [2, 2, 2, 2, 3, 7, 7],
        "itemid": [5, 9, 5, 6, 9, 4, 9],
        "rating": [1, 5, 2, 4, 3, 5, 5],
        "timestamp": [10, 20, 20, 30, 40, 50, 60],
        "label": [0, 1, 0, 1, 0, 1, 1],
        "split": [*[Split.TRAIN] * 2, Split.TEST, Split.HOLDOUT, Split.HOLDOUT, Split.RECORDED, Split.HOLDOUT],
    }
)
USERS = pd.DataFrame({"userid": [2, 3, 5, 7], "id": list("abcd"), "gender": ["F", "M", "M", "?"], "age": [1, 9, 9, 1]})


def test_everybody_has_a_state_newest_first_without_what_is_held_out(tmp_path: Path) -> None:
    artifacts.RATINGS.write(tmp_path, RATINGS)
    artifacts.USERS.write(tmp_path, USERS)
    profile = [one_hot("gender", "user", ["F", "M"]), one_hot("age", "user", [1, 9])]
    rows = write_user_state(PandasEngine(), tmp_path, profile)
    state = artifacts.USER_STATE.read(tmp_path)
    assert rows == len(state) == 4
    assert list(state) == list(artifacts.USER_STATE.columns)
    assert [[each.tolist() for each in row] for row in state.drop(columns="userid").to_numpy()] == [
        [[1, 1], [5, 9, 5], [2, 5, 1], [20, 20, 10]],
        [[2, 2], [], [], []],
        [[2, 2], [], [], []],
        [[0, 1], [4], [5], [50]],  # a gender that is not in the vocabulary
    ]


def test_where_nobody_has_a_past_everybody_has_an_empty_state(tmp_path: Path) -> None:
    assert user_state.newest_first(RATINGS[:0]).empty
    nothing = user_state.newest_first(RATINGS[3:5])
    assert nothing.empty
    everybody = for_everybody(nothing, USERS["userid"], artifacts.USER_STATE.columns)
    everybody = user_state.profiles(USERS, []).merge(everybody, on="userid")
    artifacts.USER_STATE.write(tmp_path, everybody)
    lists = artifacts.USER_STATE.read(tmp_path).drop(columns="userid")
    assert [[each.tolist() for each in row] for row in lists.to_numpy()] == [[[]] * 4] * 4


def test_the_values_of_a_profile_are_counted_by_users(tmp_path: Path) -> None:
    artifacts.USERS.write(tmp_path, USERS)
    kinds = artifacts.USERS.types(tmp_path)
    assert {name: kinds[name] for name in ("gender", "age")} == {"gender": pa.string(), "age": pa.int32()}
    for column, expected in (("age", [[1, 2], [9, 2]]), ("gender", [["?", 1], ["F", 1], ["M", 2]])):
        counted = PandasEngine().counts(
            tmp_path,
            artifacts.USERS,
            lambda users, column=column: user_state.values(users, column),
            {column: kinds[column]},
        )
        assert counted.to_numpy().tolist() == expected
