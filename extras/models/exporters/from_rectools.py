# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = ["rectools==0.19.0", "pyarrow<21"]
# ///
"""Train and export RecTools' EASE.

uv run from_rectools.py <exported events> <bundle>
"""

from __future__ import annotations

import pandas as pd
import rectools
from rectools.dataset import Dataset
from rectools.models import EASEModel
from write import LISTED, arguments, events_of, lists_of, sample, write


def main() -> None:
    given = arguments(["ease"])
    events = events_of(given)
    names = {"user": "user_id", "item": "item_id", "time": "datetime"}
    table = events.rename(columns=names).assign(weight=1.0)
    table["datetime"] = pd.to_datetime(table["datetime"], unit="s")
    table = table.drop_duplicates(["user_id", "item_id"])
    data = Dataset.construct(table[[*names.values(), "weight"]])
    model = EASEModel(regularization=500)
    model.fit(data)

    users, items = data.user_id_map.external_ids, data.item_id_map.external_ids
    some = users[sample(users)]
    found = model.recommend(some, data, k=LISTED, filter_viewed=True)
    about = {
        "name": "rectools_ease",
        "kind": "item-item",
        "library": f"rectools {rectools.__version__}",
    }
    # its EASE scores an item by the item's own row of weights
    write(
        given.bundle,
        about,
        expected=lists_of(found),
        items=pd.DataFrame({"id": items}),
        weights=model.weight.T,
    )


if __name__ == "__main__":
    main()
