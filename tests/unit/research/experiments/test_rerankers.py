from __future__ import annotations

import itertools

import numpy as np
import pytest

from research.experiments.rerankers import (
    OWN,
    Listed,
    Reranker,
    calibrated,
    determinantal,
    largest_similarity,
    mean_similarity,
    rare_first,
    served,
)

N = 30
EVERY = (served, mean_similarity, largest_similarity, determinantal, calibrated, rare_first)


def listed(seed: int = 0) -> Listed:
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(N, 5))
    shares = np.eye(4)[rng.integers(0, 4, N)]
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    rarity = rng.random(N).astype(np.float32)
    return Listed(rows.astype(np.float32), shares, np.array([0.4, 0.3, 0.3, 0]), rarity)


@pytest.mark.parametrize("rerank", EVERY)
def test_with_hardly_any_strength_the_order_stays(rerank: Reranker) -> None:
    assert rerank(listed(), 1e-6, 10).tolist()[:10] == list(range(10))


@pytest.mark.parametrize("rerank", EVERY)
def test_what_is_chosen_is_of_the_list_and_nothing_twice(rerank: Reranker) -> None:
    for size in (1, 10, N, N + 5):
        found = rerank(listed(), 0.5, size)[:size]
        assert len(set(found.tolist())) == len(found) == min(size, N)


def test_the_nearest_counts_where_the_similarity_is_the_largest() -> None:
    rows = np.array([[1, 0], [0, 1], [0.99, 0.14], [0.7, 0.71]], np.float32)
    each = Listed(rows, np.ones((4, 1)), np.ones(1), np.zeros(4, np.float32))
    assert largest_similarity(each, 0.9, 4).tolist()[:2] == [0, 1]
    assert largest_similarity(each, 0.9, 4).tolist()[2] == 3  # 0.71 to its nearest; the other one 0.99


def test_each_choice_makes_the_determinant_largest() -> None:
    each = listed()
    found = determinantal(each, 1, 4).tolist()
    kernel = (1 - OWN) * each.rows @ each.rows.T + OWN * np.eye(N)

    def determinant(places: list[int]) -> float:
        return float(np.linalg.det(kernel[np.ix_(places, places)]))

    for size in (2, 3, 4):
        best = max((place for place in range(N) if place not in found[: size - 1]),
                   key=lambda place: determinant([*found[: size - 1], place]))  # fmt: skip
        assert found[size - 1] == best


def test_calibrated_lists_have_the_shares_of_the_history() -> None:
    each = listed()
    found = calibrated(each, 0.99, 10)
    given = each.shares[found].mean(axis=0)
    errors = [np.abs(each.shares[list(places)].mean(axis=0) - each.wanted).sum() for places in
              itertools.islice(itertools.combinations(range(N), 10), 1000)]  # fmt: skip
    assert np.abs(given - each.wanted).sum() <= min(errors) + 1e-9


def test_rare_items_come_first() -> None:
    each = listed()
    assert rare_first(each, 1, 5).tolist() == np.argsort(-each.rarity, kind="stable")[:5].tolist()
