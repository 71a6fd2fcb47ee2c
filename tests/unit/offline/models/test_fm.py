"""The factorization machine: its definition, its vectors in the index, its training rows."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from data_exchange_center.columns import Columns, Split
from data_exchange_center.recipes import RECIPES
from offline.data.sequences import sequences
from offline.models.fm import FM, fm_data


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
    expected = model.bias + weights[2] + weights[3 + 1] + (factors[2] * factors[3 + 1]).sum()
    assert model(torch.tensor([[2, 1]])).item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_inner_product_is_the_order_of_the_fm() -> None:
    model = random_fm(6, 41, 8)
    users, items = model.vectors()
    for user in range(5):
        codes = torch.tensor([[user + 1, item + 1] for item in range(40)])
        logits = model(codes)[:, 0].detach().numpy()
        products = items @ users[user]
        np.testing.assert_allclose(products - products[0], logits - logits[0], atol=1e-5)


@pytest.mark.parametrize("told", [0, 1, 3])
def test_what_servers_were_told_trains_and_the_rest_is_split_as_without_it(told: int) -> None:
    """Wherever it happened: of user 2, in the middle."""
    own = pd.DataFrame({Columns.USER: np.repeat([1, 2], 10), Columns.ITEM: [*range(1, 11), *range(11, 21)]})
    own[Columns.TIMESTAMP] = 100 * own[Columns.ITEM]
    rows = own.assign(**{Columns.RATING: 5, Columns.SPLIT: Split.TRAIN})
    more = pd.DataFrame({Columns.USER: [1] * told + [2] * told, Columns.ITEM: range(21, 21 + 2 * told)})
    more[Columns.TIMESTAMP] = np.where(more[Columns.USER] == 1, 9_999, 1_450)
    both = pd.concat([rows, more.assign(**{Columns.RATING: 5, Columns.SPLIT: Split.RECORDED})])
    both = both.sort_values([Columns.USER, Columns.TIMESTAMP], kind="stable")
    recipe = RECIPES["source"].data
    plain, joined = (fm_data(sequences(each, range(1, 31), 3), recipe) for each in (rows, both))
    (data, _, items), (more_data, _, more_items) = plain, joined
    assert [len(made.test.labels) for made in (data, more_data)] == [4, 4]
    assert set(more_items.ids) == set(items.ids) | set(more[Columns.ITEM])
    assert len(more_data.train.labels) == len(data.train.labels) + 2 * told
