"""The factorization machine: its definition, its vectors in the index, its training rows; and DeepFM."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from data_exchange_center.recipes import RECIPES
from offline.models.deepfm import DeepFM, DeepFMConfig
from offline.models.fm import FM, fm_data
from tests.unit.offline.data.ratings import events_of


def random_fm(users: int, items: int, dim: int) -> FM:
    torch.manual_seed(0)
    model = FM(users, items, dim)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    return model


def test_the_inner_product_is_the_order_of_the_fm() -> None:
    model = random_fm(6, 41, 8)
    users, items = model.vectors()
    for user in range(5):
        codes = torch.tensor([[user + 1, item + 1] for item in range(40)])
        logits = model(codes)[:, 0].detach().numpy()
        products = items @ users[user]
        np.testing.assert_allclose(
            products - products[0], logits - logits[0], atol=1e-5
        )


@pytest.mark.parametrize("reported", [0, 1, 3])
def test_feedback_trains_and_leaves_the_split_unchanged(reported: int) -> None:
    """Wherever it happened: in the middle of a user's own events."""
    new = range(21, 21 + reported)
    items = [[*range(1, 11)], [*range(11, 16), *new, *range(16, 21)]]
    past = events_of(items, [[5] * len(own) for own in items], n_items=40)
    past = replace(past, recorded=past.items > 20)
    data, _, known = fm_data(past, RECIPES["source"].data)
    assert len(data.test.labels) == 4
    assert len(data.train.labels) == 16 + reported
    assert {*new} <= {*known.ids.tolist()}


# DeepFM: its definition pair by pair


CONFIG = DeepFMConfig(
    wide=(5, 7),
    narrow=(3, 4),
    n_flags=3,
    n_dense=6,
    id_dim=4,
    side_dim=2,
    hidden=(8, 4),
    dropout=0.5,
)


def random_model(seed: int = 0) -> DeepFM:
    torch.manual_seed(seed)
    model = DeepFM(CONFIG)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    return model.eval()


def random_rows(n: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    codes = [
        torch.randint(0, size, (n, 1), generator=generator).float()
        for size in (*CONFIG.wide, *CONFIG.narrow)
    ]
    flags = torch.randint(0, 2, (n, CONFIG.n_flags), generator=generator).float()
    return torch.cat(
        [*codes, flags, torch.rand(n, CONFIG.n_dense, generator=generator)], dim=1
    )


def pair_by_pair(model: DeepFM, row: torch.Tensor) -> float:
    """The definition: bias, every feature's weight, the product of every pair's factors, the MLP."""
    codes, flags, dense = row[:4].long(), row[4:7], row[7:]
    factors, weights = [], []
    for field in range(4):
        table, offset = (
            (model.wide, (0, 5)[field])
            if field < 2
            else (model.narrow, (0, 3)[field - 2])
        )
        factors.append(table.table.weight[offset + codes[field]])
        weights.append(
            model.linear.table.weight[(0, 5, 12, 15)[field] + codes[field], 0]
        )
    for flag in range(3):
        if flags[flag]:
            factors.append(model.flags[flag])
            weights.append(model.linear_flags[flag, 0])
    padded = [
        torch.nn.functional.pad(factor, (0, CONFIG.id_dim - len(factor)))
        for factor in factors
    ]
    pairs = sum(float(a @ b) for a, b in combinations(padded, 2))
    return (
        float(model.bias) + sum(map(float, weights)) + pairs + float(model.mlp(dense))
    )


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_deepfm_is_the_sum_over_all_pairs(seed: int) -> None:
    model, rows = random_model(seed), random_rows(3, seed)
    with torch.no_grad():
        expected = [pair_by_pair(model, row) for row in rows]
        np.testing.assert_allclose(
            model(rows)[:, 0].numpy(), expected, rtol=1e-4, atol=1e-4
        )
