from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_exchange_center import wire
from data_exchange_center.release_parts import UserRow
from data_exchange_center.steps import CheckError
from offline_to_online.stores.redis import check_user
from tests.unit.offline_to_online.online_side import row_of

VECTOR = wire.vector_of("fm")
ids = st.lists(st.integers(1, 2**31 - 1), max_size=50)
vectors = st.none() | st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=20)
events = st.lists(
    st.tuples(st.integers(1, 2**31 - 1), st.integers(1, 5), st.integers(0, 2**40)),
    max_size=20,
)


def stored(row: UserRow) -> dict[bytes, bytes]:
    return {name.encode(): raw for name, raw in row.fields().items()}


@given(ids, vectors, ids, events)
def test_packed_values_are_accepted_when_read_back(
    genres: list[int],
    vector: list[float] | None,
    seen: list[int],
    rated: list[tuple[int, int, int]],
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
    row = replace(row_of(42, genres, vector, seen, rated), own_id="u 42")
    hash_ = stored(row)
    field = data.draw(st.sampled_from([name for name, raw in hash_.items() if raw]))
    raw = bytearray(hash_[field])
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    hash_[field] = bytes(raw)
    with pytest.raises(CheckError, match=f"user 'u 42', field '{field.decode()}'"):
        check_user(row, hash_)


@pytest.mark.parametrize(
    "field",
    [
        wire.USER_NUMBER,
        wire.USER_TERM,
        wire.USER_FILTER,
        wire.USER_PROFILE,
        wire.USER_HISTORY,
        VECTOR,
    ],
)
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
    with pytest.raises(CheckError, match=f"unknown fields: .'{VECTOR}'"):
        check_user(row, {**stored(row), VECTOR.encode(): wire.pack_vector([1.0])})


def test_differing_values_are_shown_readably() -> None:
    row, other = (row_of(1, [2], None, [3], [(5, rating, 100)]) for rating in (4, 1))
    with pytest.raises(
        CheckError, match=rf"'{wire.USER_HISTORY}': Redis gave History\(.*array\(\[1\]"
    ):
        check_user(row, stored(other))
