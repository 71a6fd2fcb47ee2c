"""Tower and ranker: numpy and torch agree; both learn what there is to learn."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from offline.data.item_item import ease_channel
from offline.data.knowledge import crosses, similarities
from offline.data.lists import Lists, recall_lists
from offline.data.requests import request_points
from offline.data.sequences import Sequences
from offline.torchfm.ranker import Knowledge, RankerShape
from offline.torchfm.ranker_train import RankerTraining, SideFeatures, ranked, train_ranker
from offline.torchfm.tower import Tower
from offline.torchfm.tower_train import TowerTraining, train_tower

USERS, ITEMS, EVENTS, LAGS = 60, 40, 24, 6
CONFIG = TowerTraining(dim=8, history=10, epochs=4, batch_size=64, learning_rate=0.02, stride=2, horizon=3)
GENRES = np.vstack([np.zeros(2), np.eye(2)[np.arange(ITEMS) % 2]]).astype(np.float32)
PROFILES = np.stack([np.arange(USERS) % 2, np.arange(USERS) % 3], axis=1)


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
    return train_tower(data.before_last(3), GENRES, PROFILES, CONFIG)[0]


@pytest.fixture(scope="module")
def lists(data: Sequences, tower: Tower) -> Lists:
    channels = (tower.channel(), ease_channel(data.before_last(3).seen(), dim=8, l2=1.0))
    points = request_points(data, 3, np.random.default_rng(0))
    return recall_lists(data, points, PROFILES, channels, (2, 1), size=10, history=LAGS, horizon=3)


@pytest.fixture(scope="module")
def knowledge(data: Sequences, tower: Tower) -> Knowledge:
    factors = similarities((tower.channel(),), GENRES, np.arange(1960, 1960 + ITEMS + 1))
    return Knowledge(factors, crosses(data, PROFILES[:, :1] + 1, {"gender": 3}))


@pytest.fixture(scope="module")
def side() -> SideFeatures:
    return SideFeatures(PROFILES[:, :1] + 1, np.arange(ITEMS + 1, dtype=np.float32)[:, None] / ITEMS)


def test_numpy_channel_equals_torch_tower(data: Sequences, tower: Tower) -> None:
    items, ratings, _ = data.histories(CONFIG.history)
    regime = np.arange(USERS) % 2
    with torch.no_grad():
        users = tower(*map(torch.from_numpy, (items, ratings, PROFILES, regime)))
        expected = (users @ tower.item_vectors().T + tower.bias).numpy()
    channel = tower.channel()
    found = channel.user_vectors(items, ratings, PROFILES, regime) @ channel.item_vectors().T
    assert found == pytest.approx(expected, abs=1e-4)


def test_tower_learns_what_comes_next(data: Sequences, tower: Tower) -> None:
    past, channel = data.before_last(3), tower.channel()
    items, ratings, _ = past.histories(CONFIG.history)
    vectors = channel.user_vectors(items, ratings, PROFILES, np.zeros(USERS, int))
    scores = vectors @ channel.item_vectors().T
    scores[past.seen().nonzero()] = -np.inf
    best = scores[:, 1:].argmax(axis=1) + 1
    following = data.last(3).items.reshape(USERS, 3)
    assert (best[:, None] == following).any(axis=1).mean() > 0.8  # one in six by chance


def test_same_seed_same_weights(data: Sequences) -> None:
    config = replace(CONFIG, epochs=1)
    one, two = (train_tower(data, GENRES, PROFILES, config)[0].channel() for _ in range(2))
    assert np.array_equal(one.rows, two.rows)
    assert np.array_equal(one.item_vectors(), two.item_vectors())


def test_lists_hold_nothing_seen(data: Sequences, lists: Lists) -> None:
    assert len(lists) > 0
    assert not (lists.liked & lists.disliked).any()
    assert np.array_equal(np.minimum(lists.lengths, LAGS), (lists.events > 0).sum(axis=1))
    assert not (lists.candidates[:, :, None] == lists.events[:, None]).any()


def test_ranker_beats_the_recalled_order_it_is_trained_on(
    lists: Lists, knowledge: Knowledge, side: SideFeatures
) -> None:
    rng = np.random.default_rng(0)
    shuffled = rng.permuted(np.tile(np.arange(10), (len(lists), 1)), axis=1)  # an order that knows nothing
    rows = np.arange(len(lists))[:, None]
    worse = replace(
        lists,
        candidates=lists.candidates[rows, shuffled],
        liked=lists.liked[rows, shuffled],
        disliked=lists.disliked[rows, shuffled],
        features=np.zeros_like(lists.features),
    )
    config = RankerTraining(shape=RankerShape(history=LAGS, kernels=2, hidden=(16,)), epochs=6, batch_size=32)
    model, losses = train_ranker(worse, side, knowledge, config)
    assert losses[-1] < losses[0]
    order = ranked(model, worse, side)
    liked = [set(c[y]) for c, y in zip(worse.candidates, worse.liked, strict=True)]
    ours = np.mean([len(set(o[:3]) & y) for o, y in zip(order, liked, strict=True)])
    before = np.mean([len(set(c[:3]) & y) for c, y in zip(worse.candidates, liked, strict=True)])
    assert ours > 1.5 * before
