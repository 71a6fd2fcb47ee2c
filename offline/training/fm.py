"""Fitting of the source's factorization machine as a recall channel."""

from __future__ import annotations

import numpy as np

from data_exchange_center.channels.contract import Fitted
from data_exchange_center.channels.fm import FMRecipe
from data_exchange_center.channels.stored_vectors import StoredVectors
from data_exchange_center.channels.vectors import index_vectors, query_vectors
from data_exchange_center.recipes import DataRecipe
from offline.data.sequences import Sequences
from offline.models.fm import FM
from offline.training.fit import fit
from offline.training.rows import fm_data


def fit_fm(recipe: FMRecipe, past: Sequences, data: DataRecipe) -> Fitted:
    """Rows 0 of the FM's tables are the unknown user and item: not exported."""
    rows = fm_data(past, data)
    fitted = fit(lambda: FM(rows.n_users, rows.n_items, recipe.dim), rows, recipe.train, "FM")
    model = fitted.model
    user_rows = query_vectors(model.user_factors()[1:].numpy())
    item_rows = index_vectors(model.item_factors()[1:].numpy(), model.item_bias()[1:].numpy())
    users = np.full((past.n_users, user_rows.shape[1]), np.nan, dtype=np.float32)
    items = np.zeros((past.n_items + 1, item_rows.shape[1]), dtype=np.float32)
    trained = np.zeros(past.n_items + 1, dtype=np.bool_)
    users[np.searchsorted(past.userids, rows.users)] = user_rows
    codes = np.searchsorted(past.itemids, rows.items) + 1
    items[codes], trained[codes] = item_rows, True
    return Fitted(StoredVectors(recipe.name, users, items, trained), fitted.report())
