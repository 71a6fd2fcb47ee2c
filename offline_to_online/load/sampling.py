"""Which users the checks look at: the same ones for the same data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from offline_to_online.load.redis_rows import UserRow

LONGEST: Final = 20  # users with the longest histories, always looked at: their seen filter is the hardest
_SEED: Final = 0


def sampled_users(rows: Sequence[UserRow], size: int) -> list[UserRow]:
    """Up to ``size`` users with a vector: those with the longest histories, and others at random."""
    known = [row for row in rows if row.vector is not None]
    by_history = sorted(known, key=lambda row: (-len(row.seen), row.userid))
    longest, rest = by_history[:LONGEST], by_history[LONGEST:]
    order = np.random.default_rng(_SEED).permutation(len(rest))[: max(0, size - len(longest))]
    return sorted((*longest[:size], *(rest[i] for i in order)), key=lambda row: row.userid)
