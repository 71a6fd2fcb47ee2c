"""The factorization machine: its definition, its vectors in the index, its training rows; and DeepFM."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from data_exchange_center.columns import Columns, Split
from data_exchange_center.recipes import RECIPES
from offline.data.sequences import sequences
from offline.models.deepfm import DeepFM, DeepFMConfig
from offline.models.fm import FM, fm_data
from offline.models.pairs import PairsData


def random_fm(users: int, items: int, dim: int) -> FM:
    torch.manual_seed(0)
    model = FM(users, items, dim)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    return model


def test_fm_is_bias_weights_and_product() -> None:
    model = random_fm(3, 4, 5)
    weights, factors = model.linear.table.weight, model.factors.table.weight
    expected = (
        model.bias + weights[2] + weights[3 + 1] + (factors[2] * factors[3 + 1]).sum()
    )
    assert model(torch.tensor([[2, 1]])).item() == pytest.approx(
        expected.item(), rel=1e-5
    )


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
    """Wherever it happened: of user 2, in the middle."""
    own = [(1 + (n > 10), n, 100 * n, Split.TRAIN) for n in range(1, 21)]
    more = [
        (user, 10 * user + 11 + n, second, Split.RECORDED)
        for user, second in ((1, 9_999), (2, 1_450))
        for n in range(reported)
    ]

    def made(rows: list[tuple[int, int, int, str]]) -> tuple[PairsData, set[int]]:
        columns = [Columns.USER, Columns.ITEM, Columns.TIMESTAMP, Columns.SPLIT]
        frame = pd.DataFrame(rows, columns=columns).assign(rating=5)
        frame = frame.sort_values([Columns.USER, Columns.TIMESTAMP], kind="stable")
        past = sequences(frame, list(range(1, 41)), 3)
        data, _, items = fm_data(past, RECIPES["source"].data)
        return data, set(items.ids)

    data, items = made(own)
    more_data, more_items = made(own + more)
    assert [len(each.test.labels) for each in (data, more_data)] == [4, 4]
    assert more_items == items | {item for _, item, *_ in more}
    assert len(more_data.train.labels) == len(data.train.labels) + len(more)


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


def test_the_unknown_begins_at_zero() -> None:
    model = DeepFM(CONFIG)
    assert model.wide.table.weight[[0, 5]].abs().sum() == 0
    assert model.narrow.table.weight[[0, 3]].abs().sum() == 0
    assert model.wide.table.weight[1].abs().sum() > 0
