"""Models of large catalogues: a softmax over samples, on average and where all is drawn; EASE in its low-rank form."""

# ruff: noqa: F811 (a fixture, which is imported)

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from torch import Tensor

from offline.data.sequences import Sequences
from offline.models.ease import ease, low_rank
from offline.models.tower import next_item_loss, train_tower
from past_one_machine.catalogues import (
    chances,
    drawn,
    low_rank_ease,
    sampled_item_loss,
    within,
)
from tests.unit.offline.models import test_tower as towers
from tests.unit.offline.models.test_ease import ITEMS as EASE_ITEMS
from tests.unit.offline.models.test_ease import L2, USERS, channel_of, past  # noqa: F401 (a fixture)
from tests.unit.offline.models.test_losses import (
    ITEMS,
    SEEN,
    TARGETS,
    WEIGHTS,
    by_autograd,
    inputs,
)

# The tower: softmax over a sample

# by item code
LIKED = np.array([0, 0, 3, 100, 1, 0, 7, 2, 2, 50, 0, 1], dtype=np.float32)


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
    codes, correction = (
        torch.from_numpy(sample),
        torch.from_numpy(np.log(chance[sample])).float(),
    )
    liked, of = targets[1], targets[0]
    of_target = (users[of] * items[liked]).sum(dim=1) + bias[liked]
    return sampled_item_loss(
        users,
        items[codes],
        bias[codes] - correction,
        (rows, positions),
        (of, of_target),
        WEIGHTS,
    )


@pytest.mark.parametrize("drawn_at_most", [ITEMS - 1, ITEMS + 5])
def test_where_everything_is_drawn_it_is_the_full_softmax(drawn_at_most: int) -> None:
    each, chance = inputs(), chances(LIKED, drawn_at_most)
    sample = drawn(chance, np.random.default_rng(0))
    assert sample.tolist() == list(range(ITEMS))
    one, two = by_autograd(*each), sampled(*each, sample, chance)
    assert two.item() == pytest.approx(one.item(), rel=1e-6)
    for expected, found in zip(
        torch.autograd.grad(one * 3, each),
        torch.autograd.grad(two * 3, each),
        strict=True,
    ):
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
    found = [
        denominator(sampled(users, items, bias, drawn(chance, rng), chance, targets))
        for _ in range(4000)
    ]
    error = np.std(found) / np.sqrt(len(found))
    assert np.mean(found) == pytest.approx(expected, abs=4 * error)
    assert 4 * error < 0.1 * expected  # so that a wrong correction would be seen


def test_a_tower_learns_from_samples() -> None:
    offsets = np.random.default_rng(0).integers(0, towers.ITEMS, towers.RATERS)
    data = towers.inputs_of(offsets)
    many = {"sampled_beyond": towers.ITEMS - 1, "sampled_items": 10}
    recipe = towers.RECIPE.model_copy(update=many)
    one, two = (
        train_tower(recipe, data.data.before_last(3), data, towers.LAGS)[0]
        for _ in range(2)
    )
    assert torch.equal(one.item_vectors(), two.item_vectors())
    assert towers.share_found(data, one) > 0.8


# EASE in low rank


def weights(factors: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    rows, columns = factors
    return rows @ columns.T


def test_with_all_eigenvectors_it_is_exact(past: Sequences) -> None:
    seen, dim = past.seen(), 8
    expected = weights(low_rank(ease(seen.T @ seen, L2), dim))
    assert weights(low_rank_ease(seen, EASE_ITEMS, L2, dim)) == pytest.approx(
        expected, abs=1e-5
    )


def test_no_matrix_of_items_x_items_is_made(past: Sequences) -> None:
    """An item is counted a million times over: a square of the catalogue would be of terabytes."""
    seen = sp.hstack([past.seen(), sp.csr_matrix((USERS, 1_000_000))], format="csr")
    rows, columns = low_rank_ease(seen, 10, L2, 4)
    assert rows.shape == columns.shape == (EASE_ITEMS + 1 + 1_000_000, 4)
    assert weights(
        (rows[: EASE_ITEMS + 1], columns[: EASE_ITEMS + 1])
    ) == pytest.approx(weights(low_rank_ease(past.seen(), 10, L2, 4)), abs=1e-5)
    assert not rows[EASE_ITEMS + 1 :].any()
