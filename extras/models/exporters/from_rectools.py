# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = ["rectools==0.19.0", "implicit==0.7.3", "pyarrow<21"]
# ///
"""Train and export a model of RecTools: EASE, or implicit's ALS in its wrapper.

uv run from_rectools.py <exported events> <bundle> --model <model>
"""

from __future__ import annotations

import pandas as pd
import rectools
from implicit.als import AlternatingLeastSquares
from implicit.nearest_neighbours import TFIDFRecommender
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import (
    EASEModel,
    ImplicitALSWrapperModel,
    ImplicitItemKNNWrapperModel,
    PureSVDModel,
)
from write import LISTED, arguments, lists, parts, sample, vectors, write

MODELS = {
    "ease": lambda: EASEModel(regularization=500),
    "svd": lambda: PureSVDModel(factors=64),
    "als": lambda: ImplicitALSWrapperModel(
        AlternatingLeastSquares(factors=64, iterations=15, random_state=0)
    ),
    "tfidf": lambda: ImplicitItemKNNWrapperModel(TFIDFRecommender(K=200)),
}


def main() -> None:
    given = arguments(list(MODELS))
    for events, folder in parts(given):
        names = {"user": Columns.User, "item": Columns.Item, "time": Columns.Datetime}
        table = events.rename(columns=names).assign(**{Columns.Weight: 1.0})
        table[Columns.Datetime] = pd.to_datetime(table[Columns.Datetime], unit="s")
        table = table.drop_duplicates([Columns.User, Columns.Item])
        data = Dataset.construct(table[[*names.values(), Columns.Weight]])
        model = MODELS[given.model]()
        model.fit(data)
        users, items = data.user_id_map.external_ids, data.item_id_map.external_ids
        some = users[sample(users)]
        found = model.recommend(some, data, k=LISTED, filter_viewed=True).groupby(
            Columns.User, sort=False
        )
        by = {
            user: (of[Columns.Item].to_numpy(), of[Columns.Score].to_numpy())
            for user, of in found
        }
        tables = {
            "expected": lists(
                list(by), [row for row, _ in by.values()], [of for _, of in by.values()]
            )
        }
        if given.model in ("ease", "tfidf"):
            # its EASE scores an item by the item's own row of weights
            weights = (
                model.weight.T if given.model == "ease" else model.model.similarity
            )
            tables |= {"items": vectors(items), "weights": weights}
            kind = "item-item"
        else:
            of_users, of_items = model.get_vectors()
            tables |= {
                "items": vectors(items, of_items),
                "users": vectors(users, of_users),
            }
            kind = "vectors"
        write(
            folder,
            f"rectools_{given.model}",
            kind,
            f"rectools {rectools.__version__}",
            events=len(events),
            **tables,
        )


if __name__ == "__main__":
    main()
