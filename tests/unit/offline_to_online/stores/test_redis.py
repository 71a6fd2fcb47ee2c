from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_exchange_center import wire
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


@given(ids, vectors, ids, events, st.data())
def test_any_other_byte_is_refused_with_the_user_and_the_field(
    genres: list[int],
    vector: list[float] | None,
    seen: list[int],
    rated: list[tuple[int, int, int]],
    data: st.DataObject,
) -> None:
    row = replace(row_of(42, genres, vector, seen, rated), own_id="u 42")
    hash_ = {name.encode(): raw for name, raw in row.fields().items()}
    check_user(row, hash_)
    field = data.draw(st.sampled_from([name for name, raw in hash_.items() if raw]))
    raw = bytearray(hash_[field])
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    absent = {name: raw for name, raw in hash_.items() if name != field}
    for stored in (absent, hash_ | {field: bytes(raw)}, hash_ | {field: raw[:-1]}):
        with pytest.raises(CheckError, match=f"user 'u 42', field '{field.decode()}'"):
            check_user(row, stored)


def test_a_field_nobody_wrote_is_refused() -> None:
    row = row_of(1, [2], None, [3])
    stored = {name.encode(): raw for name, raw in row.fields().items()}
    with pytest.raises(CheckError, match=f"field '{VECTOR}'"):
        check_user(row, stored | {VECTOR.encode(): wire.pack_vector([1.0])})
