"""Fusion rules to compare: each makes one list of what the channels' searches returned."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from data_exchange_center.fusion import Hits, candidate_column, candidate_columns, fuse
from offline.data.sequences import Ints

Rule = Callable[[Sequence[Hits]], Ints]  # one user's hits a channel -> codes, best first


def rrf(weights: Sequence[float], size: int) -> Rule:
    """Weighted reciprocal rank fusion, as it is served."""
    return lambda hits: fuse(hits, weights, size).ids


def z_scores(channels: Sequence[str], weights: Sequence[float], size: int) -> Rule:
    """Weighted sum of the scores standardised within each list; an item that a list lacks has its lowest score."""
    columns = candidate_columns(channels)
    wanted = [columns.index(candidate_column(channel, "standing")) for channel in channels]

    def rule(hits: Sequence[Hits]) -> Ints:
        union = fuse(hits, weights, sum(len(part.ids) for part in hits))
        standings = union.features[:, wanted]  # (n, channels)
        return union.ids[np.argsort(-(standings @ np.asarray(weights)), kind="stable")[:size]]

    return rule


def quotas(shares: Sequence[float], size: int) -> Rule:
    """Places are given to the channels in these shares, from the top; each fills its own with its best items."""

    def rule(hits: Sequence[Hits]) -> Ints:
        ids = np.concatenate([part.ids for part in hits])
        turns = [(np.arange(len(part.ids)) + 0.5) / share for part, share in zip(hits, shares, strict=True)]
        dealt = ids[np.argsort(np.concatenate(turns), kind="stable")]
        _, first = np.unique(dealt, return_index=True)
        return dealt[np.sort(first)][:size]

    return rule


def rules(channels: Sequence[str], size: int) -> dict[str, Rule]:
    """The rules that are compared: the first channel's weight against one weight for all others."""

    def parts(first: float, other: float) -> tuple[float, ...]:
        return (first, *(other for _ in channels[1:]))

    def named(rule: str, weights: Sequence[float]) -> str:
        return f"{rule} {':'.join(map(str, weights))}"

    weighted = {named("RRF", each): rrf(each, size) for each in (parts(1, 1), parts(2, 1), parts(4, 1))}
    summed = {
        named("z-scores", each): z_scores(channels, each, size) for each in (parts(1, 0.2), parts(1, 0.5), parts(1, 1))
    }
    shared = {named("quotas", each): quotas(each, size) for each in (parts(1, 1), parts(4, 1), parts(9, 1))}
    return weighted | summed | shared
