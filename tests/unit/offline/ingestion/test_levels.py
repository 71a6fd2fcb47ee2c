"""Many values are cut into levels, and what is liked stays liked."""

from __future__ import annotations

import numpy as np
import pytest

from offline.ingestion.levels import MOST_LEVELS, Levels


@pytest.mark.parametrize(
    ("one", "many", "above"),
    [(0.0, np.arange(1.0, 501), 0.0), (5.0, np.arange(500) / 100, 4.99), (-7.0, np.arange(1.0, 501), -3.5)],
)
def test_a_side_of_a_single_value_is_a_level_of_its_own(one: float, many: np.ndarray, above: float) -> None:
    values = np.concatenate([np.full(500, one), many])
    levels = Levels.of(values, above)
    assert ((levels.codes > levels.positive) == (values > above)).all()
    assert one in levels.values
    assert len(levels.values) <= MOST_LEVELS


@pytest.mark.parametrize("above", [-1.0, 1_000.0])
def test_nothing_or_all_may_be_liked(above: float) -> None:
    values = np.arange(100.0)
    levels = Levels.of(values, above)
    assert ((levels.codes > levels.positive) == (values > above)).all()
