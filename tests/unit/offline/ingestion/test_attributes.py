"""Attributes in the forms that models read."""

from __future__ import annotations

import numpy as np

from offline.ingestion.attributes import intervals


def test_a_value_that_most_share_is_an_interval_of_its_own() -> None:
    numbers = np.concatenate([np.zeros(95), np.arange(1.0, 11), [np.nan]])
    names = intervals(numbers)
    assert names.value_counts().to_dict() == {"below 1": 95, "1 or more": 10, "unknown": 1}


def test_large_numbers_keep_their_digits() -> None:
    assert intervals(np.array([1_000_001.0, 1_000_002, 1_000_003])).tolist() == ["1000001", "1000002", "1000003"]
    names = intervals(np.arange(10_000_000.0, 10_000_080))
    assert names.nunique() == 8
    assert names.iloc[0] == "below 10000010"
