"""EASE, and its low-rank way for catalogues whose square has no room."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp

from data_exchange_center.recipes import EaseRecipe
from offline.data.sequences import Sequences
from offline.models import ease as item_item
from offline.models.ease import ease, ease_channel, low_rank, low_rank_ease
from tests.datasets import STARS

USERS, ITEMS, L2 = 80, 30, 5.0


@pytest.fixture
def past() -> Sequences:
    """Items of three kinds; a user mostly rates one kind, and the first items most often."""
    rng = np.random.default_rng(0)
    share = 0.25 + 0.6 * (np.arange(ITEMS) % 3 == np.arange(USERS)[:, None] % 3) - 0.2 * np.arange(ITEMS) / ITEMS
    users, items = np.nonzero(rng.random((USERS, ITEMS)) < share)
    ratings = np.full(len(users), 4)
    return Sequences(
        userids=np.arange(USERS),
        itemids=np.arange(ITEMS),
        starts=np.searchsorted(users, np.arange(USERS + 1)),
        items=items + 1,
        ratings=ratings,
        liked=ratings > 3,
        times=np.arange(len(users)),
    )


def weights(factors: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    rows, columns = factors
    return rows @ columns.T


def test_with_all_eigenvectors_it_is_exact(past: Sequences) -> None:
    seen, dim = past.seen(), 8
    expected = weights(low_rank(ease(seen, L2), dim))
    assert weights(low_rank_ease(seen, ITEMS, L2, dim)) == pytest.approx(expected, abs=1e-5)


def test_what_it_loses_falls_with_the_eigenvectors(past: Sequences) -> None:
    seen = past.seen()
    full = ease(seen, L2)
    off = ~np.eye(len(full), dtype=bool)

    def lost(eigenvectors: int) -> float:
        found = weights(low_rank_ease(seen, eigenvectors, L2, ITEMS))
        return float(np.square(found - full)[off].sum() / np.square(full).sum())

    few, more, most = lost(3), lost(15), lost(ITEMS)
    assert 1 > few > more > most
    assert most < 1e-6


def test_no_matrix_of_items_x_items_is_made(past: Sequences, monkeypatch: pytest.MonkeyPatch) -> None:
    """An item is counted a million times over: a square of the catalogue would be of terabytes."""
    seen = sp.hstack([past.seen(), sp.csr_matrix((USERS, 1_000_000))], format="csr")
    rows, columns = low_rank_ease(seen, 10, L2, 4)
    assert rows.shape == columns.shape == (ITEMS + 1 + 1_000_000, 4)
    assert weights((rows[: ITEMS + 1], columns[: ITEMS + 1])) == pytest.approx(
        weights(low_rank_ease(past.seen(), 10, L2, 4)), abs=1e-5
    )
    assert not rows[ITEMS + 1 :].any()


def test_only_a_catalogue_that_is_larger_is_fitted_the_low_rank_way(
    past: Sequences, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = EaseRecipe(dim=4, l2=L2, eigenvectors=3)
    exact = ease_channel(past, recipe.model_copy(update={"low_rank_beyond": ITEMS}), 5, STARS)
    expected = weights(low_rank(ease(past.seen(), L2), 4))
    assert weights((exact.rows[0], exact.items)) == pytest.approx(expected, abs=1e-5)
    monkeypatch.setattr(item_item, "ease_of_pairs", lambda *_: pytest.fail("items x items"))
    approximate = ease_channel(past, recipe.model_copy(update={"low_rank_beyond": ITEMS - 1}), 5, STARS)
    found = weights((approximate.rows[0], approximate.items))
    assert found == pytest.approx(weights(low_rank_ease(past.seen(), 3, L2, 4)), abs=1e-5)
    assert found != pytest.approx(expected, abs=1e-2)


def test_an_item_that_nobody_rated_is_not_trained(past: Sequences) -> None:
    rated = past.select(past.items != 7)
    recipe = EaseRecipe(dim=4, l2=L2, low_rank_beyond=0, eigenvectors=6)
    for each in (recipe, recipe.model_copy(update={"low_rank_beyond": ITEMS})):
        channel = ease_channel(rated, each, 5, STARS)
        assert np.flatnonzero(~channel.trained).tolist() == [0, 7]
        assert np.isfinite(channel.items).all()


def test_the_same_seed_gives_the_same_factors(past: Sequences) -> None:
    one, two = (low_rank_ease(past.seen(), 6, L2, 4, seed=1) for _ in range(2))
    assert all(np.array_equal(*each) for each in zip(one, two, strict=True))


def test_as_many_users_as_eigenvectors_are_enough(past: Sequences) -> None:
    few = replace(past.select(past.users < 5), userids=past.userids)
    assert all(np.isfinite(each).all() for each in low_rank_ease(few.seen(), 256, L2, 4))
