"""Step 4: a factorization machine on userid and itemid; its factors become vectors for recall.

In industry: a two-tower model whose item vectors fill an approximate-nearest-neighbour index. The FM's score of an
item for a user is <v_user, v_item> + b_item and something that is the same for all items; the exported vectors carry
the item bias as one more dimension, so their inner product *is* that ranking. Items and users that were never trained
get no vector: a random one must not compete.

It is trained twice: without the validation part of the training rows, to see how it does, then on all of them.

Reads:  offline/ratings.parquet
Writes: offline/user_vectors.parquet, offline/item_vectors.parquet, offline/fm.pt, offline/fm_report.json
Run:    cd offline/recall && python s2_vector_recall.py
Expect: test AUC about 0.812, asserted to be at least 0.8081 (MovieLens-1M)
"""

from __future__ import annotations

import pandas as pd

from data_exchange_center import artifacts, provenance
from data_exchange_center.columns import Columns
from data_exchange_center.settings import Settings
from data_exchange_center.steps import run
from offline.data import published, training, vectors
from offline.torchfm.fit import fit
from offline.torchfm.models import FM, weights_to_bytes


def main(settings: Settings) -> None:
    folder, recipe = settings.exchange_dir, settings.recipe.fm
    read = provenance.inputs_of(folder, artifacts.RATINGS)
    data = training.fm_data(settings)
    config = {"n_users": data.n_users, "n_items": data.n_items, "dim": recipe.dim}
    fitted = fit(lambda: FM(**config), data, recipe.train, "FM")
    published.expect_auc(artifacts.DATASET.read(folder)["name"], "FM", fitted.auc["test"], published.ML_1M_FM_AUC)

    model = fitted.model  # row 0 of its tables is the unknown: not exported
    user_rows = vectors.user_vectors(model.user_factors()[1:].numpy())
    item_rows = vectors.item_vectors(model.item_factors()[1:].numpy(), model.item_bias()[1:].numpy())
    artifacts.USER_VECTORS.write(folder, pd.DataFrame({Columns.USER: data.users, Columns.VECTOR: list(user_rows)}))
    artifacts.ITEM_VECTORS.write(folder, pd.DataFrame({Columns.ITEM: data.items, Columns.VECTOR: list(item_rows)}))
    artifacts.FM_WEIGHTS.write(folder, weights_to_bytes(model))
    report = {"model": config, "train": recipe.train.model_dump(), **fitted.report(), **read}
    artifacts.FM_REPORT.write(folder, report)
    print(fitted.summary("FM"))


if __name__ == "__main__":
    run(main)
