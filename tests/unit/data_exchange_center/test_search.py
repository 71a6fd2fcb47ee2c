"""The best by score, as an exact index gives them."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from data_exchange_center.channels import NOT_FOUND, best_unseen

SCORES = st.lists(st.sampled_from([NOT_FOUND, 0.0, 1.0, 2.0]), min_size=2, max_size=40)  # full of ties


@given(SCORES, st.lists(st.integers(1, 39), max_size=10), st.integers(1, 45))
def test_ties_are_in_favour_of_the_smaller_code_at_the_end_of_a_list_too(
    scores: list[float], seen: list[int], size: int
) -> None:
    codes = np.array([code for code in seen if code < len(scores)], dtype=np.int64)
    rows = np.array([scores, scores], dtype=np.float32)  # of two users the second has seen something
    first, second = best_unseen(rows, np.ones_like(codes), codes, size)
    for hits, known in ((first, set()), (second, set(codes.tolist()))):
        there = [c for c in range(1, len(scores)) if c not in known and scores[c] > NOT_FOUND]
        best = sorted(there, key=lambda code: (-scores[code], code))[:size]
        assert hits.ids.tolist() == best
        assert hits.scores.tolist() == [scores[code] for code in best]
