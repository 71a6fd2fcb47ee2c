from __future__ import annotations

from pathlib import Path

import numpy as np

from data_exchange_center import artifacts
from data_exchange_center.columns import Columns, vector_of
from offline_to_online.rows import item_places, projected
from tests.synthetic_release import write_artifacts


def test_the_most_popular_items_with_a_vector_have_places_the_same_each_time(tmp_path: Path) -> None:
    write_artifacts(tmp_path, recipe="default")
    vectors = artifacts.ITEM_VECTORS.read(tmp_path).set_index(Columns.ITEM)[vector_of("tower")]
    popular = [item for item in artifacts.POPULAR.read(tmp_path)[Columns.ITEM] if vectors[item] is not None]
    places = item_places(tmp_path, "tower")
    assert places["itemid"][: len(popular)].tolist() == popular
    assert set(places["itemid"].tolist()) == set(vectors.dropna().index)
    assert len(set(zip(places["x"].tolist(), places["y"].tolist(), strict=True))) > len(places) / 2
    np.testing.assert_array_equal(places, item_places(tmp_path, "tower"))
    few = item_places(tmp_path, "tower", most=7)
    assert few["itemid"].tolist() == popular[:7]


def test_the_two_widest_directions_are_kept_and_nearness_with_them() -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat(np.eye(3, 6), 50, axis=0)  # three directions, which lie in one plane
    places = projected((groups + rng.normal(scale=0.02, size=groups.shape)).astype(np.float32), rng.permutation(150))
    assert places.shape == (150, 2)
    assert np.abs(places).max() <= 1
    centres = places.reshape(3, 50, 2).mean(axis=1)
    within = np.linalg.norm(places - np.repeat(centres, 50, axis=0), axis=1).max()
    between = min(np.linalg.norm(centres[i] - centres[j]) for i, j in ((0, 1), (0, 2), (1, 2)))
    assert within < between / 3


def test_popularity_is_no_direction_and_it_comes_out_the_same_each_time() -> None:
    rng = np.random.default_rng(1)
    ranks = rng.permutation(200)
    vectors = rng.normal(size=(200, 8))
    vectors[:, 7] = 20 - 4 * np.log1p(ranks)
    places = projected(vectors.astype(np.float32), ranks)
    np.testing.assert_array_equal(places, projected(vectors.astype(np.float32), ranks))
    assert max(abs(np.corrcoef(places[:, axis], np.log1p(ranks))[0, 1]) for axis in (0, 1)) < 0.2


def test_items_that_are_all_alike_are_in_one_place() -> None:
    for each in (np.ones((5, 4), np.float32), np.zeros((5, 4), np.float32)):
        assert (projected(each, np.arange(5)) == 0).all()
