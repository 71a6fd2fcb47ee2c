"""What follows what: how much likelier a film is liked soon after an event, as a pair of low-rank factors."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from offline.training.item_item import low_rank

Float32 = NDArray[np.float32]

SMOOTHING = 0.75  # of how often an item is liked, as in word2vec: the rare do not seem to follow everything


def transition_factors(followers: sp.csr_matrix, dim: int, seed: int = 0) -> tuple[Float32, Float32]:
    """Positive pointwise mutual information of an event and what is liked after it (Levy & Goldberg 2014), low rank.

    ``followers``: `pairs.followers`. Returns factors of events and of candidates, (items + 1, min(dim, items)) each;
    row 0 is zero.
    """
    counts = followers.tocoo()  # no pair twice
    liked, events = np.bincount(counts.col, counts.data), np.bincount(counts.row, counts.data)
    share = liked**SMOOTHING / (liked**SMOOTHING).sum()
    information = np.log(counts.data / (events[counts.row] * share[counts.col]))
    positive = np.maximum(information, 0)
    if not positive.any():
        nothing = np.zeros((counts.shape[0], min(dim, counts.shape[0] - 1)), dtype=np.float32)
        return nothing, nothing
    rows, columns = low_rank(sp.csr_matrix((positive, (counts.row, counts.col)), shape=counts.shape), dim, seed)
    rows[0] = columns[0] = 0
    return rows, columns
