"""The small matrix that a data set is multiplied with: a coarse picture of the data set itself.

Belletti et al. 2019 (*Scalable Realistic Recommendation Datasets through Fractal Expansions*, arXiv:1901.08910), whose
expansion of MovieLens-20M is MLPerf's data, take the Kronecker product of the users-by-items matrix R with a small copy
of R. Entry (i, j) of the small matrix K says how densely block (i, j) of the large one, a copy of R with users and
items of its own, is filled: what holds between users and items holds between groups of them, too.

Here each row of K sums to one, and is read as a distribution: user (i, u) of the large data set does what user u of the
small one did, at the same times, and each event is with one of the copies j of its item, drawn from K[i]. So a user
keeps length, sessions, ratings and genres, an expansion by a factor has exactly that many times the events, and what
the product adds is on the items' side: a copy of an item is as popular as the item times its group, a longer tail.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.integer]
Floats = NDArray[np.float64]
Pairs = Callable[[], Iterable[tuple[Ints, Ints]]]  # places of users and items, event by event, as often as asked


def coarse(pairs: Pairs, user_groups: int, item_groups: int) -> Floats:
    """(user_groups, item_groups) the share of each group of users' events that is with each group of items.

    Items are grouped by popularity and users by how far down they choose, both in groups of equal size, the most
    popular first. A group of users with nobody in it, where there are fewer users than groups, does what all do.
    """
    group = _grouped_items(pairs, item_groups)
    counts = np.zeros((0, item_groups))  # (users, item groups)
    for users, items in pairs():
        counts = _grown(counts, int(users.max(initial=-1)) + 1)
        np.add.at(counts, (users, group[items]), 1)
    total = counts.sum(axis=1)
    active = np.flatnonzero(total)
    depth = counts[active] @ np.arange(item_groups) / total[active]
    order = active[np.argsort(depth, kind="stable")]
    everybody = counts.sum(axis=0) / total.sum()
    found = [counts[users].sum(axis=0) for users in np.array_split(order, user_groups)]
    return np.array([row / row.sum() if row.sum() else everybody for row in found])


def copies(shares: Floats, events: int, random: np.random.Generator) -> NDArray[np.int64]:
    """(events,) which copy of its item each event is with; ``shares``: a row of the small matrix."""
    drawn = np.searchsorted(np.cumsum(shares), random.random(events), side="right")
    return np.minimum(drawn, len(shares) - 1)  # a sum of shares may end just below one


def _grouped_items(pairs: Pairs, groups: int) -> NDArray[np.int64]:
    """(items,) the group of each, the most popular first; of equally popular ones the one that was met first."""
    popularity = np.zeros(0)
    for _, items in pairs():
        popularity = _grown(popularity, int(items.max(initial=-1)) + 1)
        popularity += np.bincount(items, minlength=len(popularity))
    order = np.argsort(-popularity, kind="stable")
    group = np.empty(len(order), dtype=np.int64)
    for number, members in enumerate(np.array_split(order, groups)):
        group[members] = number
    return group


def _grown(values: Floats, length: int) -> Floats:
    """With zeros behind, where there are fewer."""
    missing = max(length - len(values), 0)
    return np.concatenate([values, np.zeros((missing, *values.shape[1:]))]) if missing else values
