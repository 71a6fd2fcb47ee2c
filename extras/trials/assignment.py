"""Assign users by a hash of their id alone, so that every worker assigns a user alike.

Each running experiment holds some of the buckets, and no two share a user (one layer of Tang et al. 2010, Overlapping
Experiment Infrastructure). Within an experiment its own hash decides on the arm: a user with the treatment of one
experiment is no likelier to get that of the next in the same buckets.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import Final

from data_exchange_center.dataset import OwnId

BUCKETS: Final = 10_000  # of all users; and of an experiment's, for its arms
Ranges = tuple[tuple[int, int], ...]  # [first, after the last) of buckets


def bucket(salt: str, userid: OwnId, purpose: bytes) -> int:
    """Hash a user to 0 to `BUCKETS` - 1, uniformly; independent for another salt or purpose."""
    digest = blake2b(
        str(userid).encode(), digest_size=8, key=salt.encode(), person=purpose
    ).digest()
    return int.from_bytes(digest) % BUCKETS


def places(held: Iterable[Ranges]) -> set[int]:
    """All buckets of some ranges."""
    return {
        place
        for ranges in held
        for first, after in ranges
        for place in range(first, after)
    }


def resized(held: Ranges, others: Iterable[Ranges], size: int) -> Ranges | None:
    """Choose ``size`` buckets, as many of those ``held`` as possible; None if too few are free.

    So as few users as possible join or leave.
    """
    mine = sorted(places([held]))
    free = sorted(set(range(BUCKETS)) - set(mine) - places(others))
    chosen = sorted([*mine[:size], *free[: max(size - len(mine), 0)]])
    if len(chosen) < size:
        return None
    ranges: list[tuple[int, int]] = []
    for place in chosen:
        if ranges and ranges[-1][1] == place:
            ranges[-1] = ranges[-1][0], place + 1
        else:
            ranges.append((place, place + 1))
    return tuple(ranges)
