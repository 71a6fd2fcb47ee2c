# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = ["rectools==0.19.0", "pyarrow<21"]
# ///
"""Train and export a model of RecTools: EASE or PureSVD.

uv run from_rectools.py <exported events> <bundle> --model <model>
"""

from __future__ import annotations

import pandas as pd
import rectools
from rectools.dataset import Dataset
from rectools.models import EASEModel, PureSVDModel
from write import LISTED, arguments, lists_of, parts, sample, vectors, write

MODELS = {
    "ease": lambda: EASEModel(regularization=500),
    "svd": lambda: PureSVDModel(factors=64),
}


def main() -> None:
    given = arguments(list(MODELS))
    for events, folder in parts(given):
        names = {"user": "user_id", "item": "item_id", "time": "datetime"}
        table = events.rename(columns=names).assign(weight=1.0)
        table["datetime"] = pd.to_datetime(table["datetime"], unit="s")
        table = table.drop_duplicates(["user_id", "item_id"])
        data = Dataset.construct(table[[*names.values(), "weight"]])
        model = MODELS[given.model]()
        model.fit(data)

        users, items = data.user_id_map.external_ids, data.item_id_map.external_ids
        some = users[sample(users)]
        found = model.recommend(some, data, k=LISTED, filter_viewed=True)
        about = {
            "name": f"rectools_{given.model}",
            "kind": "item-item" if given.model == "ease" else "vectors",
            "library": f"rectools {rectools.__version__}",
            "events": len(events),
        }
        if given.model == "ease":
            # its EASE scores an item by the item's own row of weights
            tables = {"items": pd.DataFrame({"id": items}), "weights": model.weight.T}
        else:
            of_users, of_items = model.get_vectors()
            tables = {
                "items": vectors(items, of_items),
                "users": vectors(users, of_users),
            }
        write(folder, about, expected=lists_of(found), **tables)


if __name__ == "__main__":
    main()
