"""Codes of ids, the best k by score as an exact index gives them, and fusion against a plain loop."""

import math
from statistics import fmean, pstdev

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_exchange_center.fusion import (
    NOT_FOUND,
    Hits,
    Vocabulary,
    candidate_columns,
    fuse,
)
from data_exchange_center.top_k import top_k

listed = st.lists(
    st.tuples(st.integers(1, 30), st.integers(-8, 8)),
    unique_by=lambda pair: pair[0],
    max_size=12,
)
Channel = list[tuple[int, float]]


def hits(items: list[int]) -> Hits:
    return Hits(np.array(items, dtype=np.int64), np.linspace(2, 1, len(items)))


def plain(
    channels: list[Channel], weights: list[float], size: int
) -> list[tuple[int, float, list[float]]]:
    """(id, fused score, features) of each candidate, best first: the definition, candidate by candidate."""
    found = []
    for item in {item for channel in channels for item, _ in channel}:
        total = 0.0
        features = []
        for channel, weight in zip(channels, weights, strict=True):
            scores = [score for _, score in channel]
            ranks = {id_: rank for rank, (id_, _) in enumerate(channel)}
            if not channel:
                features += [0.0, 0.0, 0.0]
                continue
            score = scores[ranks.get(item, -1)]  # of what is not listed, the last one's
            spread = max(pstdev(scores), 1e-6)
            features += [
                score,
                (score - fmean(scores)) / spread,
                math.log1p(ranks.get(item, len(channel))),
            ]
            total += weight / (61 + ranks[item]) if item in ranks else 0.0
        found.append((item, total, features))
    found.sort(key=lambda each: (-each[1], each[0]))
    return [
        (item, total, [*row, math.log1p(place)])
        for place, (item, total, row) in enumerate(found[:size])
    ]


@given(
    st.lists(listed, min_size=1, max_size=3),
    st.lists(st.integers(1, 4), min_size=3, max_size=3),
    st.integers(1, 20),
)
def test_fusion_is_what_a_plain_loop_gives(
    given_lists: list[list[tuple[int, int]]], weights: list[int], size: int
) -> None:
    channels: list[Channel] = [
        sorted(each, key=lambda pair: -pair[1]) for each in given_lists
    ]
    own = [float(weight) for weight in weights[: len(channels)]]
    fused = fuse(
        [
            Hits(
                np.array([i for i, _ in c], np.int64),
                np.array([s for _, s in c], np.float64),
            )
            for c in channels
        ],
        own,
        size,
    )
    expected = plain(channels, own, size)
    assert fused.ids.tolist() == [item for item, _, _ in expected]
    assert fused.scores == pytest.approx([score for _, score, _ in expected], rel=1e-6)
    assert fused.scores.dtype == fused.features.dtype == np.float32
    assert fused.features.shape == (
        len(expected),
        len(candidate_columns("abc"[: len(channels)])),
    )
    for row, (_, _, features) in zip(fused.features, expected, strict=True):
        assert row.tolist() == pytest.approx(features, rel=1e-5, abs=1e-5)


def test_columns_are_named_in_the_order_of_the_features() -> None:
    assert candidate_columns(("a", "b")) == (
        "a_score",
        "a_z_score",
        "a_log_rank",
        "b_score",
        "b_z_score",
        "b_log_rank",
        "fused_log_rank",
    )


# full of ties
SCORES = st.lists(st.sampled_from([NOT_FOUND, 0.0, 1.0, 2.0]), min_size=2, max_size=40)


def test_words_have_codes_in_any_shape() -> None:
    words = Vocabulary.of(["b", "a", "b"])
    assert len(words) == 2
    assert words.codes([["b", "c"], ["a", "aa"]]).tolist() == [[2, 0], [1, 0]]


@given(SCORES, st.lists(st.integers(1, 39), max_size=10), st.integers(1, 45))
def test_ties_prefer_the_smaller_code_also_at_the_cut(
    scores: list[float], seen: list[int], size: int
) -> None:
    codes = np.array([code for code in seen if code < len(scores)], dtype=np.int64)
    # of two users the second has seen something
    rows = np.array([scores, scores], dtype=np.float32)
    first, second = top_k(rows, size, np.ones_like(codes), codes)
    for hits, known in ((first, set()), (second, set(codes.tolist()))):
        there = [
            c for c in range(1, len(scores)) if c not in known and scores[c] > NOT_FOUND
        ]
        best = sorted(there, key=lambda code: (-scores[code], code))[:size]
        assert hits.ids.tolist() == best
        assert hits.scores.tolist() == [scores[code] for code in best]
