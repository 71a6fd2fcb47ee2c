"""Which users the checks look at, and when: the same ones for the same data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from offline_to_online.load.user_rows import UserRow

LONGEST: Final = 20  # users with the longest histories, always looked at: their seen filter is the hardest
SOON_S: Final = 90  # after the user's last event: the sitting goes on
LATER_S: Final = 3 * 86_400 + 90  # after a break
_SEED: Final = 0


def sampled_users(rows: Sequence[UserRow], size: int) -> list[UserRow]:
    """Up to ``size`` users whom recall knows: those with the longest histories, and others at random."""
    known = [row for row in rows if row.vectors or len(row.history)]
    by_history = sorted(known, key=lambda row: (-len(row.seen), row.userid))
    longest, rest = by_history[:LONGEST], by_history[LONGEST:]
    order = np.random.default_rng(_SEED).permutation(len(rest))[: max(0, size - len(longest))]
    return sorted((*longest[:size], *(rest[i] for i in order)), key=lambda row: row.userid)


def request_time(row: UserRow) -> int:
    """When a check asks for a user, in seconds: for half of them while their last sitting goes on, else days later."""
    last = int(row.history.times[0]) if len(row.history) else 0
    return last + (SOON_S if row.userid % 2 else LATER_S)
