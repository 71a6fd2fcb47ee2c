"""Many values are cut into levels, and what is liked stays liked."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extras.own_data.attributes import MOST_LEVELS, Scale


def scale_of(values: np.ndarray, above: float) -> Scale:
    return Scale.of(*np.unique(values, return_counts=True), above)


@pytest.mark.parametrize(
    ("one", "many", "above"),
    [(0.0, np.arange(1.0, 501), 0.0), (5.0, np.arange(500) / 100, 4.99), (-7.0, np.arange(1.0, 501), -3.5)],
)
def test_a_side_of_a_single_value_is_a_level_of_its_own(one: float, many: np.ndarray, above: float) -> None:
    values = np.concatenate([np.full(500, one), many])
    levels = scale_of(values, above)
    assert ((levels.codes(values) > levels.positive) == (values > above)).all()
    assert one in levels.values
    assert len(levels.values) <= MOST_LEVELS


@pytest.mark.parametrize("above", [-1.0, 1_000.0])
def test_nothing_or_all_may_be_liked(above: float) -> None:
    values = np.arange(100.0)
    levels = scale_of(values, above)
    assert ((levels.codes(values) > levels.positive) == (values > above)).all()


@given(
    values=st.lists(st.integers(-40, 40).map(lambda n: n / 4), min_size=1, max_size=300),
    above=st.integers(-45, 45).map(lambda n: n / 4),
)
def test_levels_are_cut_at_the_quantiles_and_named_by_the_medians_of_all_values(
    values: list[float], above: float
) -> None:
    """Counted values give what numpy says of the values themselves."""
    all_values = np.array(values)
    levels = scale_of(all_values, above)
    codes = levels.codes(all_values)
    assert set(codes) == set(range(1, len(levels.values) + 1))
    for code, value in enumerate(levels.values, 1):
        assert value == np.median(all_values[codes == code])
    if levels.binned:
        cut = [
            edge
            for part in (all_values[all_values <= above], all_values[all_values > above])
            if len(np.unique(part)) > MOST_LEVELS // 2
            for edge in np.quantile(part, np.linspace(0, 1, MOST_LEVELS // 2 + 1)[1:-1], method="lower")
            if edge < part.max()
        ]
        assert set(cut) <= set(levels.edges)
