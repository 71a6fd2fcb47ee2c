"""Recommenders to compare with: popularity, item-kNN and EASE, over the same films and the same past."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from offline.data.sequences import Sequences
from offline.evaluation.metrics import Lists
from offline.training.item_item import ease, item_knn

POPULARITY, KNN, EASE = "popularity", "item-kNN", "EASE"


def baselines(past: Sequences, size: int) -> dict[str, Lists]:
    """Name -> (users, size) codes, best first; fitted on ``past``, nothing tuned."""
    seen = past.seen()
    return {
        POPULARITY: popular_lists(past, size),
        KNN: best_unseen(seen @ item_knn(seen), seen, size),
        EASE: best_unseen(seen @ ease(seen), seen, size),
    }


def popular_lists(past: Sequences, size: int) -> Lists:
    """The most liked items that a user has not rated."""
    clicks = np.bincount(past.items[past.liked], minlength=past.n_items + 1).astype(np.float32)
    return best_unseen(np.broadcast_to(clicks, (past.n_users, len(clicks))), past.seen(), size)


def best_unseen(scores: NDArray[np.floating], seen: sp.csr_matrix, size: int) -> Lists:
    """(users, items + 1) scores -> (users, size) codes, best first, ties in favour of the smaller code; 0 pads."""
    size = min(size, scores.shape[1] - 1)
    masked = np.array(scores, dtype=np.float32)
    masked[seen.nonzero()] = -np.inf
    masked[:, 0] = -np.inf
    top = np.argsort(-masked, axis=1, kind="stable")[:, :size]
    values = np.take_along_axis(masked, top, axis=1)
    lists: Lists = np.where(np.isfinite(values), top, 0)
    return lists
