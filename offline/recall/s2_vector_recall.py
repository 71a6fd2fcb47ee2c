"""Step 4: a factorization machine on userid and itemid; its factors become vectors for recall.

In industry: a two-tower model whose item vectors fill an approximate-nearest-neighbour index. The FM's score of an
item for a user is <v_user, v_item> + b_item and something that is the same for all items; the exported vectors carry
the item bias as one more dimension, so their inner product *is* that ranking. Items and users that were never trained
get no vector: a random one must not compete.

It is trained twice: without the validation part of the training rows, to see how it does, then on all of them.

Reads:  offline/ratings.parquet
Writes: offline/user_vectors.parquet, offline/item_vectors.parquet, offline/fm.pt, offline/fm_report.json
Run:    cd offline/recall && python s2_vector_recall.py
Expect: test AUC at least 0.8081 (MovieLens-1M)
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from data_exchange_center import artifacts
from data_exchange_center.columns import Columns, Split
from data_exchange_center.settings import Settings
from data_exchange_center.steps import run
from offline.data import published, vectors
from offline.data.split import validation_mask
from offline.data.vectors import codes_of
from offline.torchfm.fit import fit
from offline.torchfm.models import FM, weights_to_bytes
from offline.torchfm.train import Rows


def main(settings: Settings) -> None:
    folder, recipe = settings.exchange_dir, settings.recipe
    ratings = artifacts.RATINGS.read(folder, [Columns.USER, Columns.ITEM, Columns.LABEL, Columns.SPLIT])
    train, test = (ratings[ratings[Columns.SPLIT] == part] for part in (Split.TRAIN, Split.TEST))
    users, items = (np.unique(train[column]) for column in (Columns.USER, Columns.ITEM))

    fitted = fit(
        lambda: FM(len(users) + 1, len(items) + 1, recipe.fm.dim),
        _rows(train, users, items),
        validation_mask(train[Columns.USER], recipe.data.validation_share),
        _rows(test, users, items),
        recipe.fm.train,
        "FM",
    )
    model = fitted.model
    user_rows = vectors.user_vectors(model.user_factors()[1:].numpy())
    item_rows = vectors.item_vectors(model.item_factors()[1:].numpy(), model.item_bias()[1:].numpy())
    artifacts.USER_VECTORS.write(folder, pd.DataFrame({Columns.USER: users, Columns.VECTOR: list(user_rows)}))
    artifacts.ITEM_VECTORS.write(folder, pd.DataFrame({Columns.ITEM: items, Columns.VECTOR: list(item_rows)}))
    artifacts.FM_WEIGHTS.write(folder, weights_to_bytes(model))
    config = {"n_users": len(users) + 1, "n_items": len(items) + 1, "dim": recipe.fm.dim}
    artifacts.FM_REPORT.write(folder, {"model": config, "train": recipe.fm.train.model_dump(), **fitted.report()})
    print(fitted.summary("FM"))
    published.expect_auc(artifacts.DATASET.read(folder)["name"], "FM", fitted.auc["test"], published.ML_1M_FM_AUC)


def _rows(ratings: pd.DataFrame, users: NDArray[np.int32], items: NDArray[np.int32]) -> Rows:
    """Codes as the spec's: position in the sorted vocabulary plus one, 0 for an id that was never trained."""
    codes = np.stack([codes_of(ratings[Columns.USER], users), codes_of(ratings[Columns.ITEM], items)], axis=1)
    return Rows(torch.from_numpy(codes), torch.from_numpy(ratings[Columns.LABEL].to_numpy(np.float32)))


if __name__ == "__main__":
    run(main)
