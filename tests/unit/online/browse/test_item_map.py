from __future__ import annotations

import numpy as np

from online.browse.item_map import projected


def test_the_two_widest_directions_are_kept_and_nearness_with_them() -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat(np.eye(3, 6), 50, axis=0)  # three directions, which lie in one plane
    places = projected((groups + rng.normal(scale=0.02, size=groups.shape)).astype(np.float32))
    assert places.shape == (150, 2)
    assert np.abs(places).max() <= 1
    centres = places.reshape(3, 50, 2).mean(axis=1)
    within = np.linalg.norm(places - np.repeat(centres, 50, axis=0), axis=1).max()
    between = min(np.linalg.norm(centres[i] - centres[j]) for i, j in ((0, 1), (0, 2), (1, 2)))
    assert within < between / 3


def test_lengths_do_not_matter_and_it_comes_out_the_same_each_time() -> None:
    vectors = np.random.default_rng(1).normal(size=(40, 8)).astype(np.float32)
    lengths = np.random.default_rng(2).uniform(0.5, 9, size=(40, 1)).astype(np.float32)
    np.testing.assert_allclose(projected(vectors), projected(vectors * lengths), atol=1e-5)


def test_items_that_are_all_alike_are_in_one_place() -> None:
    assert (projected(np.ones((5, 4), np.float32)) == 0).all()
    assert projected(np.zeros((3, 4), np.float32)).tolist() == [[0, 0]] * 3
