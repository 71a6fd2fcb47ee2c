from __future__ import annotations

from pathlib import Path

import pytest

from data_exchange_center import artifacts
from data_exchange_center.artifact_kinds import ArtifactError
from data_exchange_center.channels import ChannelSet
from data_exchange_center.columns import Columns, Split
from offline_to_online.rows import recall_state, user_rows
from tests.synthetic_release import write_artifacts
from tests.unit.offline_to_online.user_rows import VECTOR


def test_every_user_of_the_artifacts_is_a_row(tmp_path: Path) -> None:
    write_artifacts(tmp_path, recipe="source")
    vectors = artifacts.USER_VECTORS.read(tmp_path)
    vectors = vectors[vectors[Columns.USER] != 3]
    vectors[VECTOR] = vectors[VECTOR].where(vectors[Columns.USER] != 4, None)
    artifacts.USER_VECTORS.write(tmp_path, vectors)
    rows = user_rows(tmp_path)
    assert [row.userid for row in rows] == list(range(1, 61))
    assert [row.userid for row in rows if not row.vectors] == [3, 4]
    seen = artifacts.USER_SEEN.read(tmp_path).set_index(Columns.USER)[Columns.SEEN]
    assert all(row.seen.tolist() == list(seen[row.userid]) for row in rows)


def test_somebody_who_is_in_no_list_of_users_is_one_sentence(tmp_path: Path) -> None:
    write_artifacts(tmp_path, recipe="default")
    users = artifacts.USERS.read(tmp_path)
    artifacts.USERS.write(tmp_path, users[users[Columns.USER] != 7])
    with pytest.raises(ArtifactError, match=r"users\.parquet: user number 7 is not in it.*s1_data_split\.py"):
        user_rows(tmp_path)


def test_a_history_is_the_newest_served_ratings_newest_first(tmp_path: Path) -> None:
    write_artifacts(tmp_path, recipe="default")
    ratings = artifacts.RATINGS.read(tmp_path)
    served = ratings[ratings[Columns.SPLIT] != Split.HOLDOUT]
    rows = user_rows(tmp_path)
    assert len({len(row.history) for row in rows}) > 3
    for row in rows:
        newest = served[served[Columns.USER] == row.userid][::-1]
        assert row.history.itemids.tolist() == newest[Columns.ITEM].tolist()
        assert row.history.ratings.tolist() == newest[Columns.RATING].tolist()
        assert row.history.times.tolist() == newest[Columns.TIMESTAMP].tolist()
    assert all(row.vectors == {} for row in rows)  # made of the history when a request is answered


def test_the_popular_list_keeps_its_order_and_the_channels_their_bytes(tmp_path: Path) -> None:
    write_artifacts(tmp_path, recipe="default")
    state = recall_state(tmp_path, "tower")
    assert [itemid for itemid, _ in state.popular] == artifacts.POPULAR.read(tmp_path)[Columns.ITEM].tolist()
    scores = [score for _, score in state.popular]
    assert scores == sorted(scores, reverse=True)
    assert [channel.name for channel in ChannelSet.unpack(state.channels).channels] == ["tower", "ease"]
