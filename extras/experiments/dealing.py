"""Who is in an experiment, and in which of its arms: by hashes alone, so that every worker deals a user alike.

A layer deals all users into buckets, and an experiment holds some of these; so the experiments of one layer have no
user in common, and those of different layers are independent of each other (Tang et al. 2010, Overlapping Experiment
Infrastructure). Within an experiment a hash of its own decides on the arm: who had the treatment of one experiment is
no likelier to have that of the next one in the same buckets. Arms' weights never change, so that when an experiment's
share does, users join or leave it, and nobody changes arms.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from hashlib import blake2b
from itertools import accumulate
from typing import Final

from data_exchange_center.dataset import OwnId
from extras.experiments.declaration import Declaration, Experiment, Ranges

BUCKETS: Final = 10_000  # of a layer, and of an experiment


def bucket(salt: str, userid: OwnId, purpose: bytes) -> int:
    """0 to `BUCKETS` - 1, evenly; independent for another salt or purpose."""
    digest = blake2b(str(userid).encode(), digest_size=8, key=salt.encode(), person=purpose).digest()
    return int.from_bytes(digest) % BUCKETS


def is_in(experiment: Experiment, userid: OwnId) -> bool:
    place = bucket(experiment.layer, userid, b"layer")
    return any(first <= place < after for first, after in experiment.buckets)


def arm_of(experiment: Declaration, userid: OwnId) -> str:
    """The arm that a user of the experiment has; of an interleaved one, that which answers if the other cannot."""
    place = bucket(experiment.name, userid, b"arm")
    weights = [arm.weight for arm in experiment.arms.values()]
    limits = zip(experiment.arms, accumulate(weights), strict=True)
    return next(name for name, limit in limits if place * sum(weights) < limit * BUCKETS)


def dealt(running: Iterable[Experiment], userid: OwnId) -> Experiment | None:
    """The experiment that decides on a user's release: of those that have the user, the one started first.

    A user is answered from one release, so whoever is in two layers' experiments is left out of the later one,
    whichever arm it would have been: that leaves its arms as even as they were.
    """
    theirs = [each for each in running if is_in(each, userid)]
    return min(theirs, key=lambda each: (each.started, each.name), default=None)


def resized(held: Ranges, others: Sequence[Ranges], size: int) -> Ranges | None:
    """``size`` buckets of a layer, as many of those ``held`` as can be; None: the others leave fewer.

    So as few users as possible join or leave.
    """
    mine = _places(held)
    free = sorted(set(range(BUCKETS)) - mine - {place for ranges in others for place in _places(ranges)})
    kept = sorted(mine)[:size]
    wanted = size - len(kept)
    return _ranges([*kept, *free[:wanted]]) if wanted <= len(free) else None


def n_free(others: Sequence[Ranges]) -> int:
    """How many buckets of a layer its experiments leave."""
    return BUCKETS - sum(len(_places(ranges)) for ranges in others)


def _places(ranges: Ranges) -> set[int]:
    return {place for first, after in ranges for place in range(first, after)}


def _ranges(places: Collection[int]) -> Ranges:
    ranges: list[tuple[int, int]] = []
    for place in sorted(places):
        if ranges and ranges[-1][1] == place:
            ranges[-1] = (ranges[-1][0], place + 1)
        else:
            ranges.append((place, place + 1))
    return tuple(ranges)
