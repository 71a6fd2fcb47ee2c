"""How one column's stored values become inputs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_exchange_center.features import UNKNOWN, DenseFeature, OneHotFeature


@given(vocabulary=st.sets(st.integers(-1000, 1000), min_size=1), values=st.lists(st.integers(-1100, 1100), min_size=1))
def test_one_hot_codes_are_positions_in_the_sorted_vocabulary(vocabulary: set[int], values: list[int]) -> None:
    known = sorted(vocabulary)
    feature = OneHotFeature(name="x", entity="user", vocabulary=tuple(known))
    expected = [known.index(value) + 1 if value in vocabulary else UNKNOWN for value in values]
    assert feature.encode(values).tolist() == expected
    assert feature.cardinality == len(known) + 1


@given(values=st.lists(st.integers(0, 10), min_size=1))
def test_dense_values_are_divided_by_their_scale(values: list[int]) -> None:
    encoded = DenseFeature(name="x", entity="user", scale=10).encode(values)
    np.testing.assert_allclose(encoded, np.array(values) / 10, rtol=1e-6)


def test_a_vocabulary_of_digits_stays_text_when_read_back() -> None:
    feature = OneHotFeature(name="occupation", entity="user", vocabulary=("10", "9"))
    again = OneHotFeature.model_validate(feature.model_dump(mode="json"))
    assert again == feature
    assert again.dtype == "string"
    assert again.encode(["9", "10"]).tolist() == [2, 1]


def test_log_counts() -> None:
    feature = DenseFeature(name="n", entity="user", scale=2, transform="log1p")
    assert feature.encode([0, 9]) == pytest.approx([0, np.log(10) / 2])
