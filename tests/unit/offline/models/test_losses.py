"""The losses of the tower: value and gradient of the softmax, and of a sample, on average and where all is drawn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from offline.models.tower import EXCLUDED, chances, drawn, next_item_loss, sampled_item_loss, within

ROWS, ITEMS, DIM = 7, 12, 4
SEEN = (torch.tensor([0, 0, 3, 6]), torch.tensor([1, 2, 5, 11]))
TARGETS = (torch.tensor([0, 0, 3, 4]), torch.tensor([3, 4, 6, 11]))  # the others have none
WEIGHTS = torch.tensor([0.5, 1.0, 1.0, 2.0, 0.1, 1.0, 1.0])


def by_autograd(users: Tensor, items: Tensor, bias: Tensor) -> Tensor:
    excluded = torch.zeros(ROWS, ITEMS, dtype=torch.bool)
    excluded[:, 0] = excluded[SEEN] = True
    logits = (users @ items.T + bias).masked_fill(excluded, EXCLUDED)
    return -(logits.log_softmax(dim=1)[TARGETS] * WEIGHTS[TARGETS[0]]).sum()


def test_without_a_target_there_is_nothing_to_learn() -> None:
    none = torch.from_numpy(np.empty(0, np.int64))
    users = torch.randn(ROWS, DIM, requires_grad=True)
    loss = next_item_loss(users, torch.randn(ITEMS, DIM), torch.zeros(ITEMS), SEEN, (none, none), WEIGHTS)
    assert loss.item() == 0
    assert not torch.autograd.grad(loss, users)[0].any()


def test_the_sum_is_exact_where_products_are_of_half_precision() -> None:
    """As on a GPU with RECSYS_TRAINING__PRECISION=mixed: the logits are rounded, what is made of them is not."""
    torch.manual_seed(0)
    rows, items = 500, 50
    users, vectors, bias = torch.randn(rows, DIM), torch.randn(items, DIM), torch.randn(items)
    every = torch.arange(rows)
    seen, targets, weights = (every, every % 7 + 1), (every, every % 40 + 8), torch.rand(rows)
    with torch.autocast("cpu", torch.bfloat16):
        found = next_item_loss(users, vectors, bias, seen, targets, weights)
        logits = torch.addmm(bias, users, vectors.T).float()
    logits[:, 0] = logits[seen] = EXCLUDED
    expected = -(logits.log_softmax(dim=1)[targets] * weights).sum()
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)


LIKED = np.array([0, 0, 3, 100, 1, 0, 7, 2, 2, 50, 0, 1], dtype=np.float32)  # by item code


def inputs() -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    users, items, bias = (torch.randn(shape, requires_grad=True) for shape in ((ROWS, DIM), (ITEMS, DIM), (ITEMS,)))
    return users, items, bias


def sampled(
    users: Tensor,
    items: Tensor,
    bias: Tensor,
    sample: np.ndarray,
    chance: np.ndarray,
    targets: tuple[Tensor, Tensor] = TARGETS,
) -> Tensor:
    """As the tower asks for it."""
    both = np.concatenate([np.stack(SEEN), np.stack(targets)], axis=1)
    rows, positions = map(torch.from_numpy, within(sample, both))
    codes, correction = torch.from_numpy(sample), torch.from_numpy(np.log(chance[sample])).float()
    liked, of = targets[1], targets[0]
    of_target = (users[of] * items[liked]).sum(dim=1) + bias[liked]
    return sampled_item_loss(users, items[codes], bias[codes] - correction, (rows, positions), (of, of_target), WEIGHTS)


@pytest.mark.parametrize("drawn_at_most", [None, ITEMS - 1, ITEMS + 5])
def test_value_and_gradients_are_those_of_autograd(drawn_at_most: int | None) -> None:
    """Of a sample, too, when everything is drawn."""
    each = inputs()
    if drawn_at_most is None:
        two = next_item_loss(*each, SEEN, TARGETS, WEIGHTS)
    else:
        chance = chances(LIKED, drawn_at_most)
        sample = drawn(chance, np.random.default_rng(0))
        assert sample.tolist() == list(range(ITEMS))
        two = sampled(*each, sample, chance)
    one = by_autograd(*each)
    assert two.item() == pytest.approx(one.item(), rel=1e-6)
    for expected, found in zip(torch.autograd.grad(one * 3, each), torch.autograd.grad(two * 3, each), strict=True):
        assert found.numpy() == pytest.approx(expected.numpy(), abs=1e-5)


def test_the_expected_denominator_is_the_sum_over_items() -> None:
    """A denominator is what the loss of a request with one target, weighing 1, says it is: exp(loss + its logit)."""
    users, items, bias = (each.detach() for each in inputs())
    row, target = 4, 11
    targets = torch.tensor([row]), torch.tensor([target])
    logit = users[row] @ items[target] + bias[target]
    weight = WEIGHTS[row].item()

    def denominator(loss: Tensor) -> float:
        return float(torch.exp(loss / weight + logit))

    expected = denominator(next_item_loss(users, items, bias, SEEN, targets, WEIGHTS))
    chance, rng = chances(LIKED, 5), np.random.default_rng(0)
    found = [denominator(sampled(users, items, bias, drawn(chance, rng), chance, targets)) for _ in range(4000)]
    error = np.std(found) / np.sqrt(len(found))
    assert np.mean(found) == pytest.approx(expected, abs=4 * error)
    assert 4 * error < 0.1 * expected  # so that a wrong correction would be seen
    uncorrected = [
        denominator(sampled(users, items, bias, drawn(chance, rng), np.ones(ITEMS), targets)) for _ in range(1000)
    ]
    assert np.mean(uncorrected) < expected - 8 * error


def test_chances_grow_with_what_is_liked_and_add_up_to_the_size() -> None:
    for size in range(1, ITEMS + 3):
        chance = chances(LIKED, size)
        assert chance[0] == 1  # padding, which keeps a sample from being empty
        assert chance[1:].sum() == pytest.approx(min(size, ITEMS - 1))
        assert (chance > 0).all()
        assert (chance <= 1).all()
        assert (np.diff(chance[1:][np.argsort(LIKED[1:])]) >= 0).all()
    assert chances(LIKED, 4)[3] == 1  # liked by most
    assert chances(np.zeros(ITEMS), 4)[1:] == pytest.approx(4 / (ITEMS - 1))


def test_a_sample_of_nothing_leaves_the_targets_among_themselves() -> None:
    users, items, bias = inputs()
    loss = sampled(users, items, bias, np.array([0]), np.ones(ITEMS))
    logits = users @ items.T + bias
    of_first = logits[0, [3, 4]]  # two targets
    expected = WEIGHTS[0] * (2 * of_first.logsumexp(dim=0) - of_first.sum())  # the other rows have one target, or none
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert all(torch.isfinite(each).all() for each in torch.autograd.grad(loss, (users, items, bias)))
