"""Recall channel `fm` and the layers of factorization machines (Rendle, "Factorization Machines", ICDM 2010).

Recipe: `FMRecipe`. Reads rated pairs of user and item, liked or not: (rows, 2) codes -> (rows, 1) logits. Trained by
binary cross-entropy, as the source project does.

Served: `StoredVectors`, one learned vector a user; an item's bias is one more dimension of its vector.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from data_exchange_center.channels import StoredVectors, index_vectors, query_vectors
from data_exchange_center.columns import Columns
from data_exchange_center.recipes import DataRecipe, FMRecipe
from data_exchange_center.vocabulary import Vocabulary
from offline.data.sequences import Inputs, Sequences
from offline.data.split import positions, trains, validation_mask
from offline.models.kinds import Fitted
from offline.models.training import Data, Rows, fit_on_pairs

INIT_STD = 0.01


# --- Network


class FieldEmbedding(nn.Module):
    """Embeddings of several one-hot fields in one table; code 0 of every field is the unknown value, which is zero.

    Shapes: codes (batch, fields) -> (batch, fields, dim).
    """

    def __init__(self, cardinalities: Sequence[int], dim: int, init_std: float = INIT_STD) -> None:
        super().__init__()
        offsets = torch.tensor([0, *cardinalities], dtype=torch.int64).cumsum(0)[:-1]
        self.offsets: Tensor
        self.register_buffer("offsets", offsets, persistent=False)
        self.table = nn.Embedding(sum(cardinalities), dim)
        with torch.no_grad():
            self.table.weight.normal_(std=init_std)
            self.table.weight[offsets] = 0.0

    def forward(self, codes: Tensor) -> Tensor:
        embedded: Tensor = self.table(codes + self.offsets)
        return embedded


def pairwise_interactions(total: Tensor, squares: Tensor) -> Tensor:
    """Sum over all pairs of <v_i, v_j> x_i x_j, in linear time (Rendle 2010, Lemma 3.1).

    Args:
        total: (batch, dim) sum of v_i x_i.
        squares: (batch, dim) sum of (v_i x_i)^2.

    Returns:
        (batch, 1)
    """
    return 0.5 * (total * total - squares).sum(dim=1, keepdim=True)


class FM(nn.Module):
    """Factorization machine on two ids: w0 + w_user + w_item + <v_user, v_item>.

    Code 0 is the unknown user and the unknown item.
    Shapes: (batch, 2) int64 codes -> (batch, 1) logits.
    """

    def __init__(self, n_users: int, n_items: int, dim: int) -> None:
        super().__init__()
        self.n_users = n_users
        self.bias = nn.Parameter(torch.zeros(1))
        self.linear = FieldEmbedding((n_users, n_items), 1, init_std=0.0)
        self.factors = FieldEmbedding((n_users, n_items), dim)

    def forward(self, codes: Tensor) -> Tensor:
        vectors = self.factors(codes)  # (batch, 2, dim)
        interaction = (vectors[:, 0] * vectors[:, 1]).sum(dim=1, keepdim=True)  # (batch, 1)
        logits: Tensor = self.bias + self.linear(codes).sum(dim=1) + interaction
        return logits

    def user_factors(self) -> Tensor:
        """(n_users, dim), the unknown user first."""
        return self.factors.table.weight.detach()[: self.n_users]

    def item_factors(self) -> Tensor:
        """(n_items, dim), the unknown item first."""
        return self.factors.table.weight.detach()[self.n_users :]

    def item_bias(self) -> Tensor:
        """(n_items,), the unknown item first."""
        return self.linear.table.weight.detach()[self.n_users :, 0]


# --- Training data


@dataclass(frozen=True)
class FMData(Data):
    """Codes of user and item; 0 for an id never trained."""

    users: Vocabulary  # of the training rows
    items: Vocabulary

    @property
    def n_users(self) -> int:
        """Rows of the user table: the known and the unknown."""
        return len(self.users) + 1

    @property
    def n_items(self) -> int:
        return len(self.items) + 1


def fm_data(past: Sequences, recipe: DataRecipe) -> FMData:
    """(rows, 2) int64 codes. ``past``: everything before the held-out rows."""
    rows = pd.DataFrame(
        {
            Columns.USER: past.userids[past.users].astype(np.int32),
            Columns.ITEM: past.itemids[past.items - 1].astype(np.int32),
            Columns.LABEL: past.liked,
        }
    )
    is_train = np.ones(len(rows), np.bool_)  # recorded feedback trains
    own = is_train if past.recorded is None else ~past.recorded
    is_train[own] = trains(*positions(rows.loc[own, Columns.USER]), recipe.train_share)
    train, test = rows[is_train], rows[~is_train]
    users, items = (Vocabulary.of(train[column]) for column in (Columns.USER, Columns.ITEM))

    def coded(part: pd.DataFrame) -> Rows:
        codes = np.stack([users.codes(part[Columns.USER]), items.codes(part[Columns.ITEM])], axis=1)  # (rows, 2)
        return Rows(torch.from_numpy(codes), torch.from_numpy(part[Columns.LABEL].to_numpy(np.float32)))

    held_out = validation_mask(train[Columns.USER], recipe.validation_share)
    return FMData(coded(train), held_out, coded(test), users, items)


# --- Fit and export


def fit(recipe: FMRecipe, past: Sequences, _: Inputs, data: DataRecipe) -> Fitted:
    """Fit the channel. Rows 0 of the FM's tables, the unknown user and item, are not exported."""
    rows = fm_data(past, data)
    fitted = fit_on_pairs(lambda: FM(rows.n_users, rows.n_items, recipe.dim), rows, recipe.train, "FM")
    model = fitted.model
    # Vectors of the trained users and items, popularity and length as two more dimensions: (n, dim + 2).
    user_rows = query_vectors(model.user_factors()[1:].numpy())
    item_rows = index_vectors(model.item_factors()[1:].numpy(), model.item_bias()[1:].numpy())
    # All users and items of the past in their order; NaN, or not trained, where the training rows have none.
    users = np.full((past.n_users, user_rows.shape[1]), np.nan, dtype=np.float32)
    items = np.zeros((past.n_items + 1, item_rows.shape[1]), dtype=np.float32)
    trained = np.zeros(past.n_items + 1, dtype=np.bool_)
    users[Vocabulary(past.userids).codes(rows.users.ids) - 1] = user_rows
    codes = Vocabulary(past.itemids).codes(rows.items.ids)
    items[codes], trained[codes] = item_rows, True
    return Fitted(StoredVectors(recipe.name, users, items, trained), fitted.report())
