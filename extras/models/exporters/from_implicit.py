# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = ["implicit==0.7.3", "numpy", "pandas", "pyarrow"]
# ///
"""Train and export a model of implicit: ALS, BPR, or item-item by cosine.

uv run from_implicit.py <exported events> <bundle> --model <model>
"""

from __future__ import annotations

import implicit
import numpy as np
import pandas as pd
import scipy.sparse as sp
from implicit.als import AlternatingLeastSquares
from implicit.bpr import BayesianPersonalizedRanking
from implicit.nearest_neighbours import CosineRecommender
from write import LISTED, arguments, lists, parts, sample, vectors, write

MODELS = {
    "als": lambda: AlternatingLeastSquares(
        factors=64, regularization=0.05, iterations=15, random_state=0
    ),
    "bpr": lambda: BayesianPersonalizedRanking(factors=63, random_state=0),
    "cosine": lambda: CosineRecommender(K=200),
}


def main() -> None:
    given = arguments(list(MODELS))
    for events, folder in parts(given):
        users, rows = np.unique(events["user"], return_inverse=True)
        items, columns = np.unique(events["item"], return_inverse=True)
        seen = sp.csr_matrix((np.ones(len(rows), np.float32), (rows, columns)))
        seen.data[:] = 1  # once, however often
        model = MODELS[given.model]()
        model.fit(seen, show_progress=False)

        some = sample(users)
        found, scores = model.recommend(
            some, seen[some], N=LISTED, filter_already_liked_items=True
        )
        # places that no item fills are -1, have the lowest float or, of items by cosine, the score 0
        filled = (found >= 0) & (scores > -1e30) & (scores != 0)
        best = [items[row[k]] for row, k in zip(found, filled, strict=True)]
        of_best = [row[k] for row, k in zip(scores, filled, strict=True)]
        expected = lists(users[some], best, of_best)
        about = {
            "name": f"implicit_{given.model}",
            "kind": "item-item" if given.model == "cosine" else "vectors",
            "library": f"implicit {implicit.__version__}",
            "events": len(events),
        }
        if given.model == "cosine":
            ids = pd.DataFrame({"id": items})
            tables = {"items": ids, "weights": model.similarity}
        else:
            of_items = vectors(items, model.item_factors)
            tables = {"items": of_items, "users": vectors(users, model.user_factors)}
        write(folder, about, expected=expected, **tables)


if __name__ == "__main__":
    main()
