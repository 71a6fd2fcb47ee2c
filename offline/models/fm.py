"""Recall channel `fm` and the layers of factorization machines (Rendle, "Factorization Machines", ICDM 2010).

Recipe: `FMRecipe`. Reads rated pairs of user and item, liked or not: (rows, 2) codes -> (rows, 1) logits. Trained by
binary cross-entropy, as the source project does.

Served: `StoredVectors`, one learned vector a user; an item's bias is one more dimension of its vector.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from data_exchange_center import channels, features, recipes
from data_exchange_center.columns import Columns, Split
from data_exchange_center.fusion import Vocabulary
from offline.data import sequences, split
from offline.models import pair_training
from offline.models.kinds import Fitted


class FieldEmbedding(nn.Module):
    """Embeddings of several one-hot fields in one table; code 0 of every field is the unknown value, which is zero.

    Shapes: codes (batch, fields) -> (batch, fields, dim).
    """

    def __init__(
        self, cardinalities: Sequence[int], dim: int, init_std: float = 0.01
    ) -> None:
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


class FM(nn.Module):
    """Factorization machine on two ids: w0 + w_user + w_item + <v_user, v_item>.

    Shapes: (batch, 2) int64 codes -> (batch, 1) logits. Code 0 is the unknown user and item, and counts in ``n_users``
    and ``n_items``.
    """

    def __init__(self, n_users: int, n_items: int, dim: int) -> None:
        super().__init__()
        self.n_users = n_users
        self.bias = nn.Parameter(torch.zeros(1))
        self.linear = FieldEmbedding((n_users, n_items), 1, init_std=0.0)
        self.factors = FieldEmbedding((n_users, n_items), dim)

    def forward(self, codes: Tensor) -> Tensor:
        vectors = self.factors(codes)  # (batch, 2, dim)
        # (batch, 1)
        interaction = (vectors[:, 0] * vectors[:, 1]).sum(dim=1, keepdim=True)
        logits: Tensor = self.bias + self.linear(codes).sum(dim=1) + interaction
        return logits

    def vectors(self) -> tuple[features.Float32, features.Float32]:
        """(n_users - 1, dim + 2), (n_items - 1, dim + 2) of known users and items: products rank as the FM does."""
        factors, weights = (
            table.weight.detach().numpy()
            for table in (self.factors.table, self.linear.table)
        )
        items = slice(self.n_users + 1, None)
        return channels.with_bias_dims(
            factors[1 : self.n_users]
        ), channels.index_vectors(factors[items], weights[items, 0])


# --- Fit


def fm_data(
    past: sequences.Sequences, recipe: recipes.DataRecipe
) -> tuple[pair_training.PairsData, Vocabulary, Vocabulary]:
    """Data of (rows, 2) user and item codes, 0 for an id without training rows; vocabularies of users and items.

    ``past``: everything before the held-out rows.
    """
    user_numbers, item_numbers = (
        past.user_numbers[past.users],
        past.item_numbers[past.items - 1],
    )
    ratings = pd.DataFrame({Columns.USER: user_numbers, Columns.LABEL: past.liked})
    is_train = np.ones(len(ratings), np.bool_)  # recorded feedback trains
    own = is_train if past.recorded is None else ~past.recorded
    position, size = split.positions(ratings.loc[own, Columns.USER])
    is_train[own] = position < recipe.train_share * size
    ratings[Columns.SPLIT] = np.where(is_train, Split.TRAIN, Split.TEST)
    users, items = (
        Vocabulary.of(ids[is_train]) for ids in (user_numbers, item_numbers)
    )
    # (rows, 2)
    codes = np.stack([users.codes(user_numbers), items.codes(item_numbers)], axis=1)
    return (
        pair_training.pairs_data(codes, ratings, recipe.validation_share),
        users,
        items,
    )


def fit(
    recipe: recipes.FMRecipe,
    past: sequences.Sequences,
    _: sequences.Inputs,
    data: recipes.DataRecipe,
) -> Fitted:
    """Fit the channel. Users without training rows get NaN vectors, items without them are not ``trained``."""
    rows, users, items = fm_data(past, data)
    model, report = pair_training.fit_on_pairs(
        lambda: FM(len(users) + 1, len(items) + 1, recipe.dim), rows, recipe.train, "FM"
    )
    user_rows, item_rows = model.vectors()
    all_users = np.full((past.n_users, user_rows.shape[1]), np.nan, dtype=np.float32)
    all_users[Vocabulary(past.user_numbers).codes(users.ids) - 1] = user_rows
    all_items = np.zeros((past.n_items + 1, item_rows.shape[1]), dtype=np.float32)
    trained = np.zeros(past.n_items + 1, dtype=np.bool_)
    codes = Vocabulary(past.item_numbers).codes(items.ids)
    all_items[codes], trained[codes] = item_rows, True
    return Fitted(
        channels.StoredVectors(recipe.name, all_users, all_items, trained), report
    )
