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
from implicit.als import AlternatingLeastSquares
from implicit.bpr import BayesianPersonalizedRanking
from implicit.lmf import LogisticMatrixFactorization
from implicit.nearest_neighbours import CosineRecommender
from write import LISTED, arguments, lists, matrix, parts, sample, vectors, write

MODELS = {
    "als": lambda: AlternatingLeastSquares(
        factors=64, regularization=0.05, iterations=15, random_state=0
    ),
    "bpr": lambda: BayesianPersonalizedRanking(factors=63, random_state=0),
    "lmf": lambda: LogisticMatrixFactorization(factors=30, random_state=0),
    "cosine": lambda: CosineRecommender(K=200),
}


def main() -> None:
    given = arguments(list(MODELS))
    for events, folder in parts(given):
        seen, users, items = matrix(events)
        model = MODELS[given.model]()
        model.fit(seen, show_progress=False)
        some = sample(users)
        found, scores = model.recommend(
            some, seen[some], N=LISTED, filter_already_liked_items=True
        )
        kept = [
            (row >= 0) & np.isfinite(of) & (of > -1e30)
            for row, of in zip(found, scores, strict=True)
        ]
        names = [items[row[k]] for row, k in zip(found, kept, strict=True)]
        tables = {
            "expected": lists(
                users[some], names, [of[k] for of, k in zip(scores, kept, strict=True)]
            )
        }
        if given.model == "cosine":
            tables |= {"items": vectors(items), "weights": model.similarity}
            kind = "item-item"
        else:
            tables |= {
                "items": vectors(items, model.item_factors),
                "users": vectors(users, model.user_factors),
            }
            kind = "vectors"
        write(
            folder,
            f"implicit_{given.model}",
            kind,
            f"implicit {implicit.__version__}",
            events=len(events),
            **tables,
        )


if __name__ == "__main__":
    main()
