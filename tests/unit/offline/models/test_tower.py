"""Tower and ranker: numpy and torch agree; both learn what there is to learn."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

from data_exchange_center import artifacts
from data_exchange_center.channels import BREAK_S, Requests
from data_exchange_center.features import DenseFeature, Encoded, FeatureSpec, HistoryFeature, one_hot
from data_exchange_center.fusion import candidate_columns
from data_exchange_center.recipes import DataRecipe, EaseRecipe, ListRankerRecipe, TowerRecipe
from offline.data.lists import Lists, StoredFeatures, recall_lists
from offline.data.requests import Points, request_points, requests_at
from offline.data.sequences import Inputs, Sequences
from offline.models import ease
from offline.models.list_ranker import ListRanker, Tables, crossed_log_odds, similarities
from offline.models.tower import Tower, target_weights, train_tower
from offline.models.training import ranked, train_on_lists
from tests.datasets import STARS

USERS, ITEMS, EVENTS, LAGS, TOWER_LAGS = 60, 40, 24, 6, 10
RECIPE = TowerRecipe(dim=8, epochs=4, batch_size=64, learning_rate=0.02, stride=2, horizon=3)
GENRES = np.vstack([np.zeros(2), np.eye(2)[np.arange(ITEMS) % 2]]).astype(np.float32)
PROFILE = (one_hot("two", "user", [1, 2]), one_hot("three", "user", [1, 2, 3]))
PROFILES = np.stack([np.arange(USERS) % 2, np.arange(USERS) % 3], axis=1) + 1
TRAINED = np.arange(ITEMS + 1) > 0
COUNT = DenseFeature(name="n_ratings", entity="user", scale=5, transform="log1p")
SPEC = FeatureSpec(
    one_hot=(one_hot("itemid", "item", range(ITEMS)), one_hot("gender", "user", "FM")),
    multi_hot=(),
    dense=(COUNT, DenseFeature(name="number", entity="item", scale=ITEMS)),
    genres=("a", "b"),
    candidate=candidate_columns(["tower", "ease"]),
    history=HistoryFeature(length=LAGS),
)


def inputs_of(data: Sequences) -> Inputs:
    nothing = np.zeros((ITEMS + 1, 0))
    return Inputs(STARS, data, ("a", "b"), GENRES, nothing, pd.DataFrame(), PROFILE, PROFILES)


def fitted(data: Sequences, recipe: TowerRecipe) -> Tower:
    return train_tower(recipe, data, inputs_of(data), TOWER_LAGS)[0]


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


@pytest.fixture(scope="module")
def lists(data: Sequences, tower: Tower) -> Lists:
    other = ease.fit(EaseRecipe(dim=8, l2=1.0), data.before_last(3), inputs_of(data), DataRecipe(history=LAGS)).channel
    channels = (tower.channel("tower", TRAINED), other)
    points = request_points(data, 3, np.random.default_rng(0))
    return recall_lists(data, points, PROFILES, channels, (2, 1), size=10, history=LAGS, horizon=3)


@pytest.fixture(scope="module")
def tables(data: Sequences, tower: Tower) -> Tables:
    years = np.arange(1960.0, 1960 + ITEMS + 1)[:, None]
    inputs = Inputs(STARS, data, ("a", "b"), GENRES, years, pd.DataFrame(), (), PROFILES)
    found = {"cross0": crossed_log_odds(data, PROFILES[:, 0], 3)}
    for n, (events, candidates) in enumerate(similarities((tower.channel("tower", TRAINED),), inputs)):
        found |= {f"events{n}": events, f"candidates{n}": candidates}
    return found


@pytest.fixture(scope="module")
def stored() -> StoredFeatures:
    items = SPEC.encode_items({"itemid": range(ITEMS), "number": np.arange(1, ITEMS + 1)})
    genders = np.array(["", "F", "M"])[PROFILES[:, 0]]
    padded = Encoded.joined([Encoded.none(SPEC.of("item"), 1), items])
    return StoredFeatures(SPEC, SPEC.candidate, {"gender": genders}, padded)


@pytest.mark.parametrize("hidden", [0, 5])
def test_numpy_channel_equals_torch_tower(data: Sequences, hidden: int) -> None:
    tower = fitted(data, RECIPE.model_copy(update={"hidden": hidden, "epochs": 1}))
    assert not hidden or tower.down.weight.any()
    items, ratings, times = data.histories_at(np.arange(data.n_users), data.lengths, TOWER_LAGS)
    regime = np.arange(USERS) % 2
    with torch.no_grad():
        users = tower(*map(torch.from_numpy, (items, ratings, PROFILES, regime)))
        expected = (users @ tower.item_vectors().T + tower.bias).numpy()
    channel = tower.channel("tower", TRAINED)
    later = times[:, 0] + regime * BREAK_S
    known = Requests(items, ratings, times, np.full(USERS, TOWER_LAGS), PROFILES, later)
    found = channel.user_vectors(known) @ channel.item_vectors().T
    assert found == pytest.approx(expected, abs=1e-4)


def test_tower_learns_what_comes_next(data: Sequences, tower: Tower) -> None:
    assert share_found(data, tower) > 0.8  # one in six by chance


def share_found(data: Sequences, tower: Tower) -> float:
    """Share of users whose best item is among the last three."""
    past, channel = data.before_last(3), tower.channel("tower", TRAINED)
    points = Points(np.arange(USERS), past.lengths, data.times[data.starts[:-1] + past.lengths])
    scores = channel.scores(requests_at(data, points, PROFILES, TOWER_LAGS, {}))
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
        return train_tower(recipe, past, inputs_of(past), TOWER_LAGS)[1][0]

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


def test_lists_hold_nothing_untrained(data: Sequences, tower: Tower, lists: Lists) -> None:
    missing = int(np.bincount(lists.candidates.ravel()).argmax())
    channel = tower.channel("tower", TRAINED & (np.arange(ITEMS + 1) != missing))
    found = recall_lists(data, request_points(data, 3, np.random.default_rng(0)), PROFILES, (channel,), (1,), size=10)
    assert (found.candidates > 0).all()
    assert missing not in found.candidates


def test_lists_survive_a_table(data: Sequences, lists: Lists, tmp_path: Path) -> None:
    artifacts.LISTS.write(tmp_path, lists.table(data.userids))
    table = artifacts.LISTS.read_arrow(tmp_path)
    again = Lists.of_table(table, data.userids)
    for field in fields(Lists):
        one, two = getattr(again, field.name), getattr(lists, field.name)
        assert one.dtype == two.dtype, field.name
        assert np.array_equal(one, two), field.name
    for userids in (data.userids[1:], data.userids[:-1] - 1):
        with pytest.raises(ValueError, match="no lists of these users"):
            Lists.of_table(table, userids)
    shorter = pa.array([[1], *[[1, 2]] * (len(lists) - 1)], pa.list_(pa.int32()))
    with pytest.raises(ValueError, match="same shape"):
        Lists.of_table(table.set_column(table.column_names.index("events"), "events", shorter), data.userids)


def test_lists_hold_nothing_seen(lists: Lists) -> None:
    assert len(lists) > 0
    assert not (lists.liked & lists.disliked).any()
    assert np.array_equal(np.minimum(lists.lengths, LAGS), (lists.events > 0).sum(axis=1))
    assert not (lists.candidates[:, :, None] == lists.events[:, None]).any()


def test_ranker_beats_the_recalled_order_it_is_trained_on(lists: Lists, tables: Tables, stored: StoredFeatures) -> None:
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
    recipe = ListRankerRecipe(history=LAGS, kernels=2, hidden=(16,), epochs=6, batch_size=32)
    factors = [table.shape[1] for name, table in tables.items() if name.startswith("events")]
    config = ListRanker.configure(recipe, SPEC, STARS, {"factors": factors})

    def build() -> ListRanker:
        network = ListRanker.build(config)
        network.set_tables(tables)
        return network

    model, losses = train_on_lists(build, worse, stored, recipe)
    assert losses[-1] < losses[0]
    order = ranked(model, worse, stored)
    liked = [set(c[y]) for c, y in zip(worse.candidates, worse.liked, strict=True)]
    ours = np.mean([len(set(o[:3]) & y) for o, y in zip(order, liked, strict=True)])
    before = np.mean([len(set(c[:3]) & y) for c, y in zip(worse.candidates, liked, strict=True)])
    assert ours > 1.5 * before
