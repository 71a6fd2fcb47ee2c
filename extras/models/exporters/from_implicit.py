# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = ["implicit==0.7.3", "numpy", "pandas", "pyarrow"]
# ///
"""Train and export a model of implicit: ALS or BPR.

uv run from_implicit.py <exported events> <bundle> --model <model>
"""

from __future__ import annotations

import implicit
import numpy as np
import scipy.sparse as sp
from implicit.als import AlternatingLeastSquares
from implicit.bpr import BayesianPersonalizedRanking
from write import LISTED, arguments, events_of, lists, sample, vectors, write

MODELS = {
    "als": lambda: AlternatingLeastSquares(
        factors=64, regularization=0.05, iterations=15, random_state=0
    ),
    "bpr": lambda: BayesianPersonalizedRanking(factors=63, random_state=0),
}


def main() -> None:
    given = arguments(list(MODELS))
    events = events_of(given)
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
    # places that no item fills are -1 or have the lowest float
    filled = (found >= 0) & (scores > -1e30)
    best = [items[row[k]] for row, k in zip(found, filled, strict=True)]
    of_best = [row[k] for row, k in zip(scores, filled, strict=True)]
    expected = lists(users[some], best, of_best)
    about = {
        "name": f"implicit_{given.model}",
        "kind": "vectors",
        "library": f"implicit {implicit.__version__}",
    }
    write(
        given.bundle,
        about,
        expected=expected,
        items=vectors(items, model.item_factors),
        users=vectors(users, model.user_factors),
    )


if __name__ == "__main__":
    main()
