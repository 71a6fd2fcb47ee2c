from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_exchange_center import artifacts, wire
from data_exchange_center.channels import BREAK_S, ChannelSet
from data_exchange_center.columns import Columns, Split, vector_of
from data_exchange_center.history import History
from data_exchange_center.recipes import DEFAULT
from offline_to_online.load.redis_rows import check_user
from offline_to_online.load.sampling import LONGEST, request_time, sampled_users
from offline_to_online.load.services import CheckError
from offline_to_online.load.user_rows import UserRow, recall_state, user_rows
from tests.synthetic_release import write_artifacts

ids = st.lists(st.integers(1, 2**31 - 1), max_size=50)
vectors = st.none() | st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=20)
events = st.lists(st.tuples(st.integers(1, 2**31 - 1), st.integers(1, 5), st.integers(0, 2**40)), max_size=20)
VECTOR = vector_of("fm")


def history_of(rated: list[tuple[int, int, int]]) -> History:
    return History(*np.asarray(rated, np.int64).reshape(-1, 3).T)


def row_of(
    userid: int,
    genres: list[int],
    vector: list[float] | None,
    seen: list[int],
    rated: list[tuple[int, int, int]] | None = None,
) -> UserRow:
    return UserRow(
        userid=userid,
        genres=np.asarray(genres, np.int32),
        seen=np.asarray(seen, np.int32),
        profile=np.asarray([1, 2], np.int32),
        history=history_of(rated or []),
        vectors={} if vector is None else {VECTOR: np.asarray(vector, np.float32)},
    )


def stored(row: UserRow) -> dict[bytes, bytes]:
    return {name.encode(): raw for name, raw in row.fields().items()}


@given(ids, vectors, ids, events)
def test_what_is_packed_is_accepted_when_read_back(
    genres: list[int], vector: list[float] | None, seen: list[int], rated: list[tuple[int, int, int]]
) -> None:
    row = row_of(1, genres, vector, seen, rated)
    check_user(row, stored(row))


@given(ids, vectors, ids, events, st.data())
def test_any_other_byte_is_refused_with_the_user_and_the_field(
    genres: list[int],
    vector: list[float] | None,
    seen: list[int],
    rated: list[tuple[int, int, int]],
    data: st.DataObject,
) -> None:
    row = row_of(42, genres, vector, seen, rated)
    hash_ = stored(row)
    field = data.draw(st.sampled_from([name for name, raw in hash_.items() if raw]))
    raw = bytearray(hash_[field])
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    hash_[field] = bytes(raw)
    with pytest.raises(CheckError, match=f"user 42, field '{field.decode()}'"):
        check_user(row, hash_)


@pytest.mark.parametrize("field", [wire.USER_TERM, wire.USER_FILTER, wire.USER_PROFILE, wire.USER_HISTORY, VECTOR])
def test_a_missing_or_cut_field_is_refused(field: str) -> None:
    row = row_of(1, [2], [1.0], [3], [(5, 4, 100)])
    hash_ = stored(row)
    cut = hash_.pop(field.encode())[:-1]
    with pytest.raises(CheckError, match=f"field '{field}': Redis gave None"):
        check_user(row, hash_)
    with pytest.raises(CheckError, match=f"field '{field}': Redis gave b'"):
        check_user(row, {**hash_, field.encode(): cut})


def test_a_field_nobody_wrote_is_refused() -> None:
    row = row_of(1, [2], None, [3])
    with pytest.raises(CheckError, match=f"nobody wrote: .'{VECTOR}'"):
        check_user(row, {**stored(row), VECTOR.encode(): wire.pack_vector([1.0])})


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


def test_a_history_is_the_newest_served_ratings_newest_first(tmp_path: Path) -> None:
    write_artifacts(tmp_path, recipe="default")
    ratings = artifacts.RATINGS.read(tmp_path)
    served = ratings[ratings[Columns.SPLIT] != Split.HOLDOUT]
    rows = user_rows(tmp_path)
    assert len({len(row.history) for row in rows}) > 3
    for row in rows:
        newest = served[served[Columns.USER] == row.userid].tail(DEFAULT.data.history)[::-1]
        assert row.history.itemids.tolist() == newest[Columns.ITEM].tolist()
        assert row.history.ratings.tolist() == newest[Columns.RATING].tolist()
        assert row.history.times.tolist() == newest[Columns.TIMESTAMP].tolist()
    assert all(row.vectors == {} for row in rows)  # made of the history when a request is answered


def test_the_popular_list_keeps_its_order_and_the_channels_their_bytes(tmp_path: Path) -> None:
    write_artifacts(tmp_path, recipe="default")
    state = recall_state(tmp_path)
    assert [itemid for itemid, _ in state.popular] == artifacts.POPULAR.read(tmp_path)[Columns.ITEM].tolist()
    scores = [score for _, score in state.popular]
    assert scores == sorted(scores, reverse=True)
    assert [channel.name for channel in ChannelSet.unpack(state.channels).channels] == ["tower", "ease"]


def test_samples_hold_the_longest_histories_and_are_the_same_every_time() -> None:
    rows = [row_of(userid, [], [1.0], list(range(1, userid + 1))) for userid in range(1, 201)]
    rows.append(row_of(999, [], None, list(range(1, 999))))  # neither vector nor history: nothing to compare
    sample = sampled_users(rows, 50)
    userids = [row.userid for row in sample]
    assert len(set(userids)) == 50
    assert set(range(201 - LONGEST, 201)) <= set(userids)
    assert 999 not in userids
    assert userids == [row.userid for row in sampled_users(rows[::-1], 50)]


def test_half_of_the_users_are_asked_for_within_their_sitting_and_half_after_a_break() -> None:
    rows = [row_of(userid, [], None, [], [(1, 5, 1_000_000)]) for userid in range(1, 101)]
    ages = [row.history.ages(request_time(row))[0] for row in rows]
    assert sum(age < BREAK_S for age in ages) == sum(age >= BREAK_S for age in ages) == 50
    assert min(ages) > 0
    assert request_time(row_of(1, [], None, [])) > 0  # nobody's history is empty in a sample, but it may be asked for
