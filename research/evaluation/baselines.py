"""Plain baselines over the same items and the same past, untuned: popularity, item-kNN, EASE."""

from __future__ import annotations

from typing import Final

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from data_exchange_center.channels import Float32
from data_exchange_center.top_k import top_k
from extras.replay import Holdout, Lists
from offline.models.ease import ease

POPULARITY: Final = "popularity"
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


def popularity(holdout: Holdout, size: int) -> Lists:
    """(users, size) codes of the most liked items that the user's past does not hold: what any recommender has to beat.

    Items of the whole past are excluded, also those of the request's own second, which `Holdout.judged` would take off
    anyway; so no list gets shorter.
    """
    past = holdout.past
    clicks = np.bincount(past.items[past.liked], minlength=past.n_items + 1).astype(
        np.float32
    )
    return best_unseen(
        np.broadcast_to(clicks, (past.n_users, len(clicks))), past.left_out(), size
    )


def best_unseen(scores: NDArray[np.floating], seen: sp.csr_matrix, size: int) -> Lists:
    """(users, items + 1) scores -> (users, size) codes, best first, ties in favour of the smaller code; 0 pads."""
    size = min(size, scores.shape[1] - 1)
    lists: Lists = np.zeros((len(scores), size), dtype=np.int64)
    for row, hits in zip(
        lists,
        top_k(np.array(scores, dtype=np.float32), size, *seen.nonzero()),
        strict=True,
    ):
        row[: len(hits.ids)] = hits.ids
    return lists


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
