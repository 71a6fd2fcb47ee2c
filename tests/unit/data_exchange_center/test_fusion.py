from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_exchange_center.fusion import Hits, candidate_columns, fuse

ids = st.lists(st.integers(1, 50), unique=True, min_size=0, max_size=20)


def hits(items: list[int]) -> Hits:
    return Hits(np.array(items, dtype=np.int64), np.linspace(2, 1, len(items)))


@given(ids, ids, st.integers(1, 30))
def test_fused_lists_are_the_union_cut_and_ordered(first: list[int], second: list[int], size: int) -> None:
    fused = fuse([hits(first), hits(second)], [2, 1], size)
    assert len(fused.ids) == min(size, len(set(first) | set(second)))
    assert set(fused.ids) <= set(first) | set(second)
    assert np.all(np.diff(fused.scores) <= 0)
    assert fused.features.shape == (len(fused.ids), len(candidate_columns(("a", "b"))))
    assert np.isfinite(fused.features).all()


def test_an_item_one_channel_missed_has_its_lowest_score_and_last_rank() -> None:
    fused = fuse([hits([1, 2]), hits([3])], [2, 1], 10)
    assert fused.ids.tolist() == [1, 2, 3]
    assert fused.scores == pytest.approx([2 / 61, 2 / 62, 1 / 61], rel=1e-6)
    names = candidate_columns(("a", "b"))
    row = dict(zip(names, fused.features[2], strict=True))
    assert row["a_score"] == 1
    assert row["a_log_rank"] == pytest.approx(np.log1p(2))
    assert row["b_log_rank"] == 0
