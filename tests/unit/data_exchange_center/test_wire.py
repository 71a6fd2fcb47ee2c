"""Byte layouts of the stores."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from data_exchange_center import wire


@given(st.lists(st.floats(width=32, allow_nan=False)))
def test_vectors_survive_the_wire(values: list[float]) -> None:
    assert wire.unpack_vector(wire.pack_vector(values)).tolist() == values


@given(st.lists(st.integers(-(2**31), 2**31 - 1)))
def test_ids_survive_the_wire(values: list[int]) -> None:
    assert wire.unpack_ids(wire.pack_ids(values)).tolist() == values


def test_vectors_are_little_endian_float32() -> None:
    assert wire.pack_vector(np.array([1.0])) == b"\x00\x00\x80\x3f"


def test_names_of_two_releases_never_meet() -> None:
    names = {f(release) for release in ("a1", "b2") for f in (wire.manifest_key, wire.popular_key, wire.item_index)}
    assert len(names) == 6
    assert wire.user_key("a1", 1) != wire.user_key("a1", 11)
