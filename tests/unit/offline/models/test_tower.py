"""The tower: numpy and torch agree, whatever is in a history; it learns what there is to learn."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from data_exchange_center.channels import BREAK_S, Requests
from data_exchange_center.features import one_hot
from data_exchange_center.recipes import TowerRecipe
from offline.data.requests import Points, requests_at
from offline.data.sequences import Inputs, Sequences
from offline.models.tower import Tower, target_weights, train_tower
from tests.datasets import STARS

USERS, ITEMS, EVENTS, LAGS = 60, 40, 24, 10
RECIPE = TowerRecipe(dim=8, epochs=4, batch_size=64, learning_rate=0.02, stride=2, horizon=3)
GENRES = np.vstack([np.zeros(2), np.eye(2)[np.arange(ITEMS) % 2]]).astype(np.float32)
PROFILE = (one_hot("two", "user", [1, 2]), one_hot("three", "user", [1, 2, 3]))
PROFILES = np.stack([np.arange(USERS) % 2, np.arange(USERS) % 3], axis=1) + 1
TRAINED = np.arange(ITEMS + 1) > 0


def inputs_of(data: Sequences) -> Inputs:
    nothing = np.zeros((ITEMS + 1, 0))
    return Inputs(STARS, data, ("a", "b"), GENRES, nothing, pd.DataFrame(), PROFILE, PROFILES)


def fitted(data: Sequences, recipe: TowerRecipe) -> Tower:
    return train_tower(recipe, data, inputs_of(data), LAGS)[0]


@pytest.fixture(scope="module")
def data() -> Sequences:
    """Everybody walks round the items in the same direction, from a place of their own."""
    start = np.random.default_rng(0).integers(0, ITEMS, USERS)
    items = ((start[:, None] + np.arange(EVENTS)) % ITEMS + 1).ravel()
    ratings = np.full(len(items), 4)
    starts = np.arange(USERS + 1) * EVENTS
    times = np.tile(np.arange(EVENTS) * 60, USERS)
    return Sequences(np.arange(1, USERS + 1), np.arange(1, ITEMS + 1), starts, items, ratings, ratings > 3, times)


@pytest.fixture(scope="module")
def tower(data: Sequences) -> Tower:
    return fitted(data.before_last(3), RECIPE)


@pytest.mark.parametrize("hidden", [0, 5])
def test_numpy_channel_equals_torch_tower(data: Sequences, hidden: int) -> None:
    tower = fitted(data, RECIPE.model_copy(update={"hidden": hidden, "epochs": 1}))
    assert not hidden or tower.down.weight.any()
    lengths = 1 + np.arange(USERS) % EVENTS
    items, ratings, times = data.histories_at(np.arange(USERS), lengths, LAGS)
    regime = np.arange(USERS) % 2
    with torch.no_grad():
        users = tower(*map(torch.from_numpy, (items, ratings, PROFILES, regime)))
        expected = (users @ tower.item_vectors().T + tower.bias).numpy()
    channel = tower.channel("tower", TRAINED)
    later = times[:, 0] + regime * BREAK_S
    known = Requests(items, ratings, times, np.minimum(lengths, LAGS), PROFILES, later)
    found = channel.user_vectors(known) @ channel.item_vectors().T
    assert found == pytest.approx(expected, abs=1e-4)


def test_tower_learns_what_comes_next(data: Sequences, tower: Tower) -> None:
    assert share_found(data, tower) > 0.8  # one in six by chance


def share_found(data: Sequences, tower: Tower) -> float:
    """Share of users whose best item is among the last three."""
    past, channel = data.before_last(3), tower.channel("tower", TRAINED)
    points = Points(np.arange(USERS), past.lengths, data.times[data.starts[:-1] + past.lengths])
    scores = channel.scores(requests_at(data, points, PROFILES, LAGS, {}))
    scores[past.seen().nonzero()] = -np.inf
    best = scores[:, 1:].argmax(axis=1) + 1
    following = data.last(3).items.reshape(USERS, 3)
    return float((best[:, None] == following).any(axis=1).mean())


def test_a_tower_learns_from_samples(data: Sequences, tower: Tower) -> None:
    past = data.before_last(3)
    recipe = RECIPE.model_copy(update={"sampled_beyond": ITEMS - 1, "sampled_items": 10})
    one, two = (fitted(past, recipe) for _ in range(2))
    assert all(torch.equal(*each) for each in zip(one.state_dict().values(), two.state_dict().values(), strict=True))
    assert not torch.equal(one.item_vectors(), tower.item_vectors())
    assert share_found(data, one) > 0.8


def test_a_tower_that_begins_with_what_follows_what_learns_sooner(data: Sequences) -> None:
    past = data.before_last(3)

    def loss(start: str) -> float:
        recipe = RECIPE.model_copy(update={"start": start, "epochs": 1})
        return train_tower(recipe, past, inputs_of(past), LAGS)[1][0]

    assert loss("followers") < loss("random") - 0.1


def test_a_target_weighs_less_of_an_active_user_and_among_many() -> None:
    events, targets = np.array([2, 32, 32, 32]), np.array([1, 1, 4, 0])

    def weights(user: float, request: float) -> list[float]:
        return target_weights(
            events, targets, RECIPE.model_copy(update={"user_balance": user, "request_balance": request})
        ).tolist()

    assert weights(0.0, 0.0) == [1, 1, 1, 1]
    assert weights(0.2, 0.0) == pytest.approx([2**-0.2, 0.5, 0.5, 0.5])
    assert weights(0.0, 0.5) == [1, 1, 0.5, 1]
    assert weights(0.2, 1.0) == pytest.approx([2**-0.2, 0.5, 0.125, 0.5])


def test_a_profile_value_that_nobody_knows_adds_nothing(tower: Tower) -> None:
    channel = tower.channel("tower", TRAINED)
    assert len(channel.profile) == 2
    assert all(not table[0].any() and table[1:].any(axis=1).all() for table in channel.profile)
