from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_exchange_center import artifacts, wire
from data_exchange_center.columns import Columns
from offline_to_online.load.redis_rows import UserRow, check_user, popular_rows, user_rows
from offline_to_online.load.sampling import LONGEST, sampled_users
from offline_to_online.load.services import CheckError
from tests.synthetic_release import write_artifacts

ids = st.lists(st.integers(1, 2**31 - 1), max_size=50)
vectors = st.none() | st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=20)


def row_of(userid: int, genres: list[int], vector: list[float] | None, seen: list[int]) -> UserRow:
    return UserRow(
        userid=userid,
        genres=np.asarray(genres, np.int32),
        vector=None if vector is None else np.asarray(vector, np.float32),
        seen=np.asarray(seen, np.int32),
    )


def stored(row: UserRow) -> dict[bytes, bytes]:
    return {name.encode(): raw for name, raw in row.fields().items()}


@given(ids, vectors, ids)
def test_what_is_packed_is_accepted_when_read_back(
    genres: list[int], vector: list[float] | None, seen: list[int]
) -> None:
    row = row_of(1, genres, vector, seen)
    check_user(row, stored(row))


@given(ids, st.lists(st.floats(-1e6, 1e6, width=32), min_size=1), ids.filter(bool), st.data())
def test_any_other_byte_is_refused_with_the_user_and_the_field(
    genres: list[int], vector: list[float], seen: list[int], data: st.DataObject
) -> None:
    row = row_of(42, genres, vector, seen)
    hash_ = stored(row)
    field = data.draw(st.sampled_from([name for name, raw in hash_.items() if raw]))
    raw = bytearray(hash_[field])
    position = data.draw(st.integers(0, len(raw) - 1))
    raw[position] ^= 0x40 if position % 4 == 3 else 0x01  # not the sign of a zero, which compares equal
    hash_[field] = bytes(raw)
    with pytest.raises(CheckError, match=f"user 42, field '{field.decode()}'"):
        check_user(row, hash_)


@pytest.mark.parametrize("field", [wire.USER_TERM, wire.USER_VECTOR, wire.USER_FILTER])
def test_a_missing_field_is_refused(field: str) -> None:
    row = row_of(1, [2], [1.0], [3])
    hash_ = stored(row)
    del hash_[field.encode()]
    with pytest.raises(CheckError, match=f"field '{field}': Redis gave None"):
        check_user(row, hash_)


def test_a_field_nobody_wrote_is_refused() -> None:
    row = row_of(1, [2], None, [3])
    with pytest.raises(CheckError, match="vector"):
        check_user(row, {**stored(row), b"vector": wire.pack_vector([1.0])})


def test_every_user_of_the_artifacts_is_a_row(tmp_path: Path) -> None:
    write_artifacts(tmp_path)
    vectors = artifacts.USER_VECTORS.read(tmp_path)
    artifacts.USER_VECTORS.write(tmp_path, vectors[vectors[Columns.USER] != 3])
    rows = user_rows(tmp_path)
    assert [row.userid for row in rows] == list(range(1, 61))
    assert [row.userid for row in rows if row.vector is None] == [3]
    seen = artifacts.USER_SEEN.read(tmp_path).set_index(Columns.USER)[Columns.SEEN]
    assert all(row.seen.tolist() == list(seen[row.userid]) for row in rows)


def test_the_popular_list_keeps_its_order(tmp_path: Path) -> None:
    write_artifacts(tmp_path)
    rows = popular_rows(tmp_path)
    assert [itemid for itemid, _ in rows] == artifacts.POPULAR.read(tmp_path)[Columns.ITEM].tolist()
    assert [score for _, score in rows] == sorted((score for _, score in rows), reverse=True)


def test_samples_hold_the_longest_histories_and_are_the_same_every_time() -> None:
    rows = [row_of(userid, [], [1.0], list(range(1, userid + 1))) for userid in range(1, 201)]
    rows.append(row_of(999, [], None, list(range(1, 999))))  # no vector: nothing to compare
    sample = sampled_users(rows, 50)
    userids = [row.userid for row in sample]
    assert len(set(userids)) == 50
    assert set(range(201 - LONGEST, 201)) <= set(userids)
    assert 999 not in userids
    assert userids == [row.userid for row in sampled_users(rows[::-1], 50)]
