"""Codes of ids, and the best k by score, as an exact index gives them."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from data_exchange_center.vocabulary import NOT_FOUND, Vocabulary, top_k

SCORES = st.lists(st.sampled_from([NOT_FOUND, 0.0, 1.0, 2.0]), min_size=2, max_size=40)  # full of ties


@given(st.lists(st.integers(-5, 5), max_size=8), st.lists(st.integers(-9, 9), max_size=8))
def test_codes_follow_the_order_of_the_ids_and_zero_is_unknown(ids: list[int], wanted: list[int]) -> None:
    known = sorted(set(ids))
    codes = Vocabulary.of(np.array(ids, np.int64)).codes(np.array(wanted, np.int64))
    assert codes.tolist() == [known.index(each) + 1 if each in known else 0 for each in wanted]


def test_words_have_codes_in_any_shape() -> None:
    words = Vocabulary.of(["b", "a", "b"])
    assert len(words) == 2
    assert words.codes([["b", "c"], ["a", "aa"]]).tolist() == [[2, 0], [1, 0]]


@given(SCORES, st.lists(st.integers(1, 39), max_size=10), st.integers(1, 45))
def test_ties_are_in_favour_of_the_smaller_code_at_the_end_of_a_list_too(
    scores: list[float], seen: list[int], size: int
) -> None:
    codes = np.array([code for code in seen if code < len(scores)], dtype=np.int64)
    rows = np.array([scores, scores], dtype=np.float32)  # of two users the second has seen something
    first, second = top_k(rows, size, np.ones_like(codes), codes)
    for hits, known in ((first, set()), (second, set(codes.tolist()))):
        there = [c for c in range(1, len(scores)) if c not in known and scores[c] > NOT_FOUND]
        best = sorted(there, key=lambda code: (-scores[code], code))[:size]
        assert hits.ids.tolist() == best
        assert hits.scores.tolist() == [scores[code] for code in best]
