"""Plain baselines over the same items and the same past, untuned: popularity, item-kNN, EASE."""

from __future__ import annotations

from typing import Final

import numpy as np
import scipy.sparse as sp

from data_exchange_center.channels import Float32
from offline.evaluation.evaluate import POPULARITY
from offline.evaluation.metrics import Lists
from offline.evaluation.replay import Holdout
from offline.evaluation.served import best_unseen, popularity
from offline.models.ease import ease

KNN: Final = "item-kNN"
EASE: Final = "EASE"


def baselines(holdout: Holdout, size: int) -> dict[str, Lists]:
    """Fit the baselines on the past: name -> (users, size) codes, best first; excluded is the whole past."""
    past, known, left_out = (
        holdout.past.seen(),
        holdout.known.seen(),
        holdout.past.left_out(),
    )
    return {
        POPULARITY: popularity(holdout, size),
        KNN: best_unseen(known @ item_knn(past), left_out, size),
        EASE: best_unseen(known @ ease(past.T @ past), left_out, size),
    }


def item_knn(
    seen: sp.csr_matrix, neighbours: int = 100, shrink: float = 20.0
) -> Float32:
    """Cosine item-kNN (Sarwar et al. 2001): each column keeps its most similar ``neighbours`` rows."""
    gram = (seen.T @ seen).toarray().astype(np.float32)
    norm = np.sqrt(np.diag(gram))
    similar: Float32 = gram / (norm[:, None] * norm[None, :] + shrink)
    np.fill_diagonal(similar, 0)
    if neighbours < len(similar):
        floor = -np.partition(-similar, neighbours - 1, axis=0)[neighbours - 1]
        similar[similar < floor] = 0
    return similar
