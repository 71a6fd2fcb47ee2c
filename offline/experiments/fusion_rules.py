"""Ways to make one list of the channels' lists, side by side: each is given what an index answers and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from data_exchange_center.fusion import Hits, fuse
from offline.data.sequences import Ints

Rule = Callable[[Sequence[Hits]], Ints]  # one user's hits a channel -> codes, best first


def rrf(weights: Sequence[float], size: int) -> Rule:
    """Weighted reciprocal ranks: what is served."""
    return lambda hits: fuse(hits, weights, size).ids


def z_scores(weights: Sequence[float], size: int) -> Rule:
    """Weighted sum of the scores standardised within each list; who is not on a list has its lowest score."""

    def rule(hits: Sequence[Hits]) -> Ints:
        union = fuse(hits, weights, sum(len(part.ids) for part in hits))
        standings = union.features[:, 1 : 3 * len(hits) : 3]  # (n, channels)
        return union.ids[np.argsort(-(standings @ np.asarray(weights)), kind="stable")[:size]]

    return rule


def quotas(shares: Sequence[float], size: int) -> Rule:
    """The places dealt out to the channels in these shares, from the first place on; each brings its best."""

    def rule(hits: Sequence[Hits]) -> Ints:
        ids = np.concatenate([part.ids for part in hits])
        turns = [(np.arange(len(part.ids)) + 0.5) / share for part, share in zip(hits, shares, strict=True)]
        dealt = ids[np.argsort(np.concatenate(turns), kind="stable")]
        _, first = np.unique(dealt, return_index=True)
        return dealt[np.sort(first)][:size]

    return rule


def rules(size: int) -> dict[str, Rule]:
    """The rules that are compared, for two channels."""
    weighted = {f"RRF {first}:{second}": rrf((first, second), size) for first, second in ((1, 1), (2, 1), (3, 1))}
    summed = {f"z-scores 1:{second}": z_scores((1, second), size) for second in (0.2, 0.5, 1)}
    shared = {f"quotas {first}:1": quotas((first, 1), size) for first in (1, 4, 9)}
    return weighted | summed | shared
