"""Rows that a release loads, read from the artifacts, and the users that checks sample."""

from __future__ import annotations

from pathlib import Path

import pytest

from data_exchange_center import artifacts
from data_exchange_center.artifacts import ArtifactError
from data_exchange_center.channels import BREAK_S, ChannelSet
from data_exchange_center.columns import Columns
from data_exchange_center.recipes import DEFAULT, SOURCE, Recipe
from data_exchange_center.release_parts import read_feature_spec
from data_exchange_center.steps import CheckError
from data_exchange_center.wire import vector_of
from offline_to_online.rows import (
    LONGEST,
    feature_frames,
    item_rows,
    recall_state,
    request_time,
    sampled_users,
    user_rows,
)
from tests.synthetic_release import write_artifacts
from tests.unit.offline_to_online.user_rows import VECTOR, row_of


def test_every_user_of_the_artifacts_is_a_row(tmp_path: Path) -> None:
    write_artifacts(tmp_path, recipe="source")
    vectors = artifacts.USER_VECTORS.read(tmp_path)
    vectors = vectors[vectors[Columns.USER] != 3]
    vectors[VECTOR] = vectors[VECTOR].where(vectors[Columns.USER] != 4, None)
    artifacts.USER_VECTORS.write(tmp_path, vectors)
    rows = user_rows(tmp_path)
    assert [row.number for row in rows] == list(range(1, 61))
    assert [row.number for row in rows if not row.vectors] == [3, 4]
    seen = artifacts.USER_SEEN.read(tmp_path).set_index(Columns.USER)[Columns.SEEN]
    assert all(row.seen.tolist() == list(seen[row.number]) for row in rows)


def test_somebody_who_is_in_no_list_of_users_is_one_sentence(tmp_path: Path) -> None:
    write_artifacts(tmp_path, recipe="default")
    users = artifacts.USERS.read(tmp_path)
    artifacts.USERS.write(tmp_path, users[users[Columns.USER] != 7])
    with pytest.raises(ArtifactError, match=r"users\.parquet: user number 7 is not in it.*s1_data_split\.py"):
        user_rows(tmp_path)


def test_the_popular_list_keeps_its_order_and_the_channels_their_bytes(tmp_path: Path) -> None:
    write_artifacts(tmp_path, recipe="default")
    state = recall_state(tmp_path)
    assert [itemid for itemid, _ in state.popular] == artifacts.POPULAR.read(tmp_path)[Columns.ITEM].tolist()
    scores = [score for _, score in state.popular]
    assert scores == sorted(scores, reverse=True)
    assert [channel.name for channel in ChannelSet.unpack(state.channels).channels] == ["tower", "ease"]


@pytest.mark.parametrize("recipe", [SOURCE, DEFAULT], ids=lambda recipe: recipe.name)
def test_items_without_a_vector_are_documents_without_one(tmp_path: Path, recipe: Recipe) -> None:
    write_artifacts(tmp_path, recipe=recipe.name)
    rows = item_rows(tmp_path)
    vectors = artifacts.ITEM_VECTORS.read(tmp_path).set_index(Columns.ITEM)
    assert [row.itemid for row in rows] == sorted(artifacts.ITEMS.read(tmp_path)[Columns.ITEM])
    some = item_rows(tmp_path, (rows[2].itemid, rows[5].itemid))
    assert [row.document() for row in some] == [row.document() for row in rows[2:6]]
    for channel in recipe.recall.channels:
        field = vector_of(channel.name)
        trained = set(vectors.index[vectors[field].notna()])
        assert {row.itemid for row in rows if field in row.document()} == trained
        assert len(trained) < len(rows)


def test_samples_hold_the_longest_histories_and_are_the_same_every_time() -> None:
    rows = [row_of(userid, [], [1.0], list(range(1, userid + 1))) for userid in range(1, 201)]
    rows.append(row_of(999, [], None, list(range(1, 999))))  # neither vector nor history: nothing to compare
    sample = sampled_users(rows, 50)
    userids = [row.number for row in sample]
    assert len(set(userids)) == 50
    assert set(range(201 - LONGEST, 201)) <= set(userids)
    assert 999 not in userids
    assert userids == [row.number for row in sampled_users(rows[::-1], 50)]


def test_half_of_the_requests_fall_into_the_users_last_session_and_half_after_a_break() -> None:
    rows = [row_of(userid, [], None, [], [(1, 5, 1_000_000)]) for userid in range(1, 101)]
    ages = [row.history.ages(request_time(row))[0] for row in rows]
    assert sum(age < BREAK_S for age in ages) == sum(age >= BREAK_S for age in ages) == 50
    assert min(ages) > 0
    assert request_time(row_of(1, [], None, [])) > 0  # nobody's history is empty in a sample, but it may be requested


@pytest.mark.parametrize("absent", [True, False])
def test_a_feature_without_a_column_or_a_value_is_named(tmp_path: Path, absent: bool) -> None:
    write_artifacts(tmp_path)
    spec, users = read_feature_spec(tmp_path), artifacts.USER_FEATURES.read(tmp_path)
    name = spec.stored("user")[-1].name
    unlike = users.drop(columns=name) if absent else users.assign(**{name: users[name].where(users.index != 2)})
    artifacts.USER_FEATURES.write(tmp_path, unlike)
    with pytest.raises(CheckError, match=f"no column '{name}'" if absent else f"^user 3 has no value for .* '{name}'"):
        feature_frames(tmp_path, spec)
