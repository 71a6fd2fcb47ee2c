"""How often two items go together: sums over users, as sparse matrices that grow with the items alone.

(items + 1, items + 1) by item code, row and column 0 empty. Counted of some users and of others, they add up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

if TYPE_CHECKING:
    from offline.data.sequences import Sequences


def seen_together(data: Sequences) -> sp.csr_matrix:
    """By how many users both items were rated; on the diagonal, by how many one was."""
    seen = data.seen().astype(np.int32)
    counts = sp.csr_matrix(seen.T @ seen)
    counts.sort_indices()
    return counts


def followers(data: Sequences, window: int) -> sp.csr_matrix:
    """How often the column's item was liked within ``window`` events after the row's."""
    size, users = data.n_items + 1, data.users
    before, after = [data.items[:0]], [data.items[:0]]
    for lag in range(1, min(window, len(users) - 1) + 1):
        pairs = (users[lag:] == users[:-lag]) & data.liked[lag:]
        before.append(data.items[:-lag][pairs])
        after.append(data.items[lag:][pairs])
    where = np.concatenate(before), np.concatenate(after)
    counts = sp.csr_matrix((np.ones(len(where[0]), np.int32), where), shape=(size, size))
    counts.sum_duplicates()
    return counts


@dataclass(frozen=True)
class PairCount:
    """What is to be counted of a past.

    Attributes:
        share: of each user's events, the first ones.
        window: of `followers`; None: `seen_together`.
    """

    share: float = 1.0
    window: int | None = None

    def of(self, past: Sequences) -> sp.csr_matrix:
        past = past.earlier(self.share)
        return seen_together(past) if self.window is None else followers(past, self.window)
