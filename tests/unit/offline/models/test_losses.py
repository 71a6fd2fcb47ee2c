"""The loss of the tower: value and gradient of the softmax."""

import numpy as np
import pytest
import torch
from torch import Tensor

from offline.models.tower import EXCLUDED, next_item_loss

ROWS, ITEMS, DIM = 7, 12, 4
SEEN = (torch.tensor([0, 0, 3, 6]), torch.tensor([1, 2, 5, 11]))
TARGETS = (
    torch.tensor([0, 0, 3, 4]),
    torch.tensor([3, 4, 6, 11]),
)  # the others have none
WEIGHTS = torch.tensor([0.5, 1.0, 1.0, 2.0, 0.1, 1.0, 1.0])


def by_autograd(users: Tensor, items: Tensor, bias: Tensor) -> Tensor:
    excluded = torch.zeros(ROWS, ITEMS, dtype=torch.bool)
    excluded[:, 0] = excluded[SEEN] = True
    logits = (users @ items.T + bias).masked_fill(excluded, EXCLUDED)
    return -(logits.log_softmax(dim=1)[TARGETS] * WEIGHTS[TARGETS[0]]).sum()


def test_without_a_target_there_is_nothing_to_learn() -> None:
    none = torch.from_numpy(np.empty(0, np.int64))
    users = torch.randn(ROWS, DIM, requires_grad=True)
    loss = next_item_loss(
        users, torch.randn(ITEMS, DIM), torch.zeros(ITEMS), SEEN, (none, none), WEIGHTS
    )
    assert loss.item() == 0
    assert not torch.autograd.grad(loss, users)[0].any()


def inputs() -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    users, items, bias = (
        torch.randn(shape, requires_grad=True)
        for shape in ((ROWS, DIM), (ITEMS, DIM), (ITEMS,))
    )
    return users, items, bias


def test_value_and_gradients_are_those_of_autograd() -> None:
    each = inputs()
    one, two = by_autograd(*each), next_item_loss(*each, SEEN, TARGETS, WEIGHTS)
    assert two.item() == pytest.approx(one.item(), rel=1e-6)
    for expected, found in zip(
        torch.autograd.grad(one * 3, each),
        torch.autograd.grad(two * 3, each),
        strict=True,
    ):
        assert found.numpy() == pytest.approx(expected.numpy(), abs=1e-5)
