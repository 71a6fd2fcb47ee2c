# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = ["cornac==3.0.1", "numpy", "pandas", "pyarrow"]
# ///
"""Train and export a model of cornac: BPR, MF or PMF.

uv run from_cornac.py <exported events> <bundle> --model <model>
"""

from __future__ import annotations

import cornac
import numpy as np
from cornac.data import Dataset
from cornac.models import BPR, MF, PMF
from write import arguments, best_unseen, lists, parts, sample, vectors, write

MODELS = {
    "bpr": lambda: BPR(
        k=32, max_iter=100, learning_rate=0.01, lambda_reg=0.001, seed=0
    ),
    "mf": lambda: MF(k=32, max_iter=50, learning_rate=0.01, lambda_reg=0.02, seed=0),
    "pmf": lambda: PMF(k=32, max_iter=50, learning_rate=0.001, lambda_reg=0.01, seed=0),
}


def main() -> None:
    given = arguments(list(MODELS))
    for events, folder in parts(given):
        rows = events.drop_duplicates(["user", "item"])
        train = Dataset.build(
            list(
                zip(
                    rows["user"],
                    rows["item"],
                    rows["rating"].astype(float),
                    strict=True,
                )
            ),
            seed=0,
        )
        model = MODELS[given.model]()
        model.fit(train)
        users, items = np.array(list(train.user_ids)), np.array(list(train.item_ids))
        of_users = model.U if given.model == "pmf" else model.u_factors
        of_items = model.V if given.model == "pmf" else model.i_factors
        bias = None if given.model == "pmf" else model.i_biases
        scores = of_users @ of_items.T + (0 if bias is None else bias)
        # a rating's mean and the user's bias move all of a user's scores alike: the order is the same without them
        some, best = sample(users), []
        for user in some:
            own = np.asarray(model.score(user), np.float64)
            best.append(
                best_unseen(
                    own - np.median(own - scores[user]), train.csr_matrix[user].indices
                )
            )
        found, listed = (
            [items[places] for places, _ in best],
            [each for _, each in best],
        )
        tables = {
            "items": vectors(items, of_items, bias),
            "users": vectors(users, of_users),
        }
        write(
            folder,
            f"cornac_{given.model}",
            "vectors",
            f"cornac {cornac.__version__}",
            events=len(events),
            expected=lists(users[some], found, listed),
            **tables,
        )


if __name__ == "__main__":
    main()
