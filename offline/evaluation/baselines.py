"""Recommenders to compare with: popularity, item-kNN and EASE, over the same films and the same past."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from offline.evaluation.metrics import Lists
from offline.evaluation.replay import Holdout
from offline.models.ease import Float32, ease

POPULARITY, KNN, EASE = "popularity", "item-kNN", "EASE"


def baselines(holdout: Holdout, size: int) -> dict[str, Lists]:
    """Name -> (users, size) codes, best first; fitted on the past, nothing tuned.

    Nothing of the past is on a list, so that all of it is left when `Holdout.judged` has taken off what shares the
    request's second.
    """
    past, known = holdout.past.seen(), holdout.known.seen()
    return {
        POPULARITY: popular_lists(holdout, size),
        KNN: best_unseen(known @ item_knn(past), past, size),
        EASE: best_unseen(known @ ease(past), past, size),
    }


def item_knn(seen: sp.csr_matrix, neighbours: int = 100, shrink: float = 20.0) -> Float32:
    """Cosine item-kNN (Sarwar et al. 2001): each column keeps its most similar ``neighbours`` rows."""
    gram = (seen.T @ seen).toarray().astype(np.float32)
    norm = np.sqrt(np.diag(gram))
    similar: Float32 = gram / (norm[:, None] * norm[None, :] + shrink)
    np.fill_diagonal(similar, 0)
    if neighbours < len(similar):
        floor = -np.partition(-similar, neighbours - 1, axis=0)[neighbours - 1]
        similar[similar < floor] = 0
    return similar


def popular_lists(holdout: Holdout, size: int) -> Lists:
    """The most liked items that a user has not rated in the past."""
    past = holdout.past
    clicks = np.bincount(past.items[past.liked], minlength=past.n_items + 1).astype(np.float32)
    return best_unseen(np.broadcast_to(clicks, (past.n_users, len(clicks))), past.seen(), size)


def best_unseen(scores: NDArray[np.floating], seen: sp.csr_matrix, size: int) -> Lists:
    """(users, items + 1) scores -> (users, size) codes, best first, ties in favour of the smaller code; 0 pads."""
    masked = np.array(scores, dtype=np.float32)
    masked[seen.nonzero()] = -np.inf
    masked[:, 0] = -np.inf
    return top(masked, size)


def top(scores: NDArray[np.float32], size: int) -> Lists:
    """(users, items + 1) scores, -inf what is not to be listed -> (users, size) as by `best_unseen`.

    Only what reaches a row's score at ``size`` is sorted.
    """
    size = min(size, scores.shape[1] - 1)
    floor = np.partition(scores, -size, axis=1)[:, -size][:, None]
    users, codes = np.nonzero((scores >= floor) & np.isfinite(scores))  # row by row, codes ascending
    order = np.lexsort((-scores[users, codes], users))  # stable
    users, codes = users[order], codes[order]
    places = np.arange(len(users)) - np.searchsorted(users, users)
    kept = places < size
    lists: Lists = np.zeros((len(scores), size), dtype=np.int64)
    lists[users[kept], places[kept]] = codes[kept]
    return lists
