"""The tower: numpy and torch agree, whatever is in a history; it learns what there is to learn; its loss."""

import numpy as np
import pytest
import torch
from torch import Tensor

from data_exchange_center.channels import BREAK_S, Requests
from data_exchange_center.recipes import TowerRecipe
from offline.data.sequences import Inputs, Points, Sequences, requests_at
from offline.models.tower import (
    EXCLUDED,
    Tower,
    batch_of,
    next_item_loss,
    target_weights,
    train_tower,
)
from tests.unit.offline.models.test_stages import EVENTS, ITEMS, USERS, inputs_of

RATERS, LAGS = USERS - 1, 10
RECIPE = TowerRecipe(
    dim=8, epochs=6, batch_size=64, learning_rate=0.02, stride=2, horizon=3
)
TRAINED = np.arange(ITEMS + 1) > 0


@pytest.fixture(scope="module")
def inputs() -> Inputs:
    return inputs_of(np.random.default_rng(0).integers(0, ITEMS, RATERS))


@pytest.fixture(scope="module")
def past(inputs: Inputs) -> Sequences:
    return inputs.data.before_last(3)


@pytest.fixture(scope="module")
def tower(past: Sequences, inputs: Inputs) -> Tower:
    return train_tower(RECIPE, past, inputs, LAGS)[0]


@pytest.mark.parametrize("hidden", [0, 5])
def test_numpy_channel_equals_torch_tower(inputs: Inputs, hidden: int) -> None:
    data = inputs.data
    tower, _ = train_tower(
        RECIPE.model_copy(update={"hidden": hidden, "epochs": 1}), data, inputs, LAGS
    )
    assert not hidden or tower.down.weight.any()
    lengths, regime, profiles = (
        1 + np.arange(RATERS) % EVENTS,
        np.arange(RATERS) % 2,
        inputs.profiles[:RATERS],
    )
    items, ratings, times = data.histories_at(np.arange(RATERS), lengths, LAGS)
    with torch.no_grad():
        users = tower(*map(torch.from_numpy, (items, ratings, profiles, regime)))
        expected = (users @ tower.item_vectors().T + tower.bias).numpy()
    channel = tower.channel("tower", TRAINED)
    later = times[:, 0] + regime * BREAK_S
    known = Requests(items, ratings, times, np.minimum(lengths, LAGS), profiles, later)
    found = channel.user_vectors(known) @ channel.item_vectors().T
    assert found == pytest.approx(expected, abs=1e-4)


def test_tower_learns_what_comes_next(inputs: Inputs, tower: Tower) -> None:
    assert share_found(inputs, tower) > 0.8  # three in ten by chance


def share_found(inputs: Inputs, tower: Tower) -> float:
    """Share of users whose best item is among the last three."""
    data, past = inputs.data, inputs.data.before_last(3)
    lengths = past.lengths[:RATERS]
    points = Points(
        np.arange(RATERS), lengths, data.times[data.starts[:RATERS] + lengths]
    )
    channel = tower.channel("tower", TRAINED)
    scores = channel.scores(requests_at(data, points, inputs.profiles, channel))
    scores[past.seen().nonzero()] = -np.inf
    best = scores[:, 1:].argmax(axis=1) + 1
    following = data.last(3).items.reshape(RATERS, 3)
    return float((best[:, None] == following).any(axis=1).mean())


def test_a_tower_started_from_transitions_learns_sooner(
    past: Sequences, inputs: Inputs
) -> None:
    def loss(start: str) -> float:
        recipe = RECIPE.model_copy(update={"start": start, "epochs": 1})
        return train_tower(recipe, past, inputs, LAGS)[1][0]

    assert loss("followers") < loss("random") - 0.1


def test_a_request_after_a_break_is_a_regime_of_its_own(inputs: Inputs) -> None:
    data = inputs.data
    last = data.times[data.starts[:3] + 4]
    times = last + np.array([0, BREAK_S - 1, BREAK_S])
    points = Points(np.arange(3), np.full(3, 5), times)
    assert batch_of(data, points, LAGS, RECIPE).regime.tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("user", "request_", "expected"),
    [
        (0.0, 0.0, [1, 1, 1, 1]),
        (0.2, 0.0, [2**-0.2, 0.5, 0.5, 0.5]),
        (0.2, 1.0, [2**-0.2, 0.5, 0.125, 0.5]),
    ],
)
def test_a_target_weighs_less_of_an_active_user_and_among_many(
    user: float, request_: float, expected: list[float]
) -> None:
    balance = {"user_balance": user, "request_balance": request_}
    events, targets = np.array([2, 32, 32, 32]), np.array([1, 1, 4, 0])
    found = target_weights(events, targets, RECIPE.model_copy(update=balance))
    assert found == pytest.approx(expected)


LOSS_ROWS, LOSS_ITEMS, DIM = 7, 12, 4
SEEN = (torch.tensor([0, 0, 3, 6]), torch.tensor([1, 2, 5, 11]))
TARGETS = (
    torch.tensor([0, 0, 3, 4]),
    torch.tensor([3, 4, 6, 11]),
)  # the others have none
WEIGHTS = torch.tensor([0.5, 0.5, 2.0, 0.1])  # of the targets
TOTALS = torch.tensor([1.0, 0.0, 0.0, 2.0, 0.1, 0.0, 0.0])  # of the rows


def by_autograd(users: Tensor, items: Tensor, bias: Tensor) -> Tensor:
    excluded = torch.zeros(LOSS_ROWS, LOSS_ITEMS, dtype=torch.bool)
    excluded[:, 0] = excluded[SEEN] = True
    logits = (users @ items.T + bias).masked_fill(excluded, EXCLUDED)
    return -(logits.log_softmax(dim=1)[TARGETS] * WEIGHTS).sum()


def test_without_a_target_there_is_nothing_to_learn() -> None:
    none = torch.from_numpy(np.empty(0, np.int64))
    users = torch.randn(LOSS_ROWS, DIM, requires_grad=True)
    items, bias = torch.randn(LOSS_ITEMS, DIM), torch.zeros(LOSS_ITEMS)
    weights, totals = torch.empty(0), torch.zeros(LOSS_ROWS)
    loss = next_item_loss(users, items, bias, SEEN, (none, none), weights, totals)
    assert loss.item() == 0
    assert not torch.autograd.grad(loss, users)[0].any()


def loss_inputs() -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    users, items, bias = (
        torch.randn(shape, requires_grad=True)
        for shape in ((LOSS_ROWS, DIM), (LOSS_ITEMS, DIM), (LOSS_ITEMS,))
    )
    return users, items, bias


def test_value_and_gradients_are_those_of_autograd() -> None:
    each = loss_inputs()
    one = by_autograd(*each)
    two = next_item_loss(*each, SEEN, TARGETS, WEIGHTS, TOTALS)
    assert two.item() == pytest.approx(one.item(), rel=1e-6)
    for expected, found in zip(
        torch.autograd.grad(one * 3, each),
        torch.autograd.grad(two * 3, each),
        strict=True,
    ):
        assert found.numpy() == pytest.approx(expected.numpy(), abs=1e-5)
