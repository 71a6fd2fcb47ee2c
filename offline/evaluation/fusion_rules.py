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


def quotas(sizes: Sequence[int]) -> Rule:
    """The first so many of each channel that no channel before it has brought."""

    def rule(hits: Sequence[Hits]) -> Ints:
        kept = np.zeros(0, dtype=np.int64)
        for part, size in zip(hits, sizes, strict=True):
            kept = np.concatenate([kept, part.ids[~np.isin(part.ids, kept)][:size]])
        return kept

    return rule


def rules(size: int) -> dict[str, Rule]:
    """The rules that are compared, for two channels."""
    weighted = {f"RRF {first}:{second}": rrf((first, second), size) for first, second in ((1, 1), (2, 1), (3, 1))}
    summed = {f"z-scores 1:{second}": z_scores((1, second), size) for second in (0.2, 0.5, 1)}
    shared = {
        f"quotas {size - tail} + {tail}": quotas((size - tail, tail)) for tail in (size // 10, size // 5, size // 2)
    }
    return weighted | summed | shared
