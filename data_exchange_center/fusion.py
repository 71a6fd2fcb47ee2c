"""Fusion of the channels' lists into one (weighted reciprocal ranks), and the ranker's features of each candidate.

Server, training lists and evaluation call the same `fuse` on what an index returns: ids and scores, best first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Kind = Literal["score", "standing", "log_rank"]  # in the order of `fuse`
RRF_K = 60  # Cormack, Clarke, Buettcher (2009)


@dataclass(frozen=True)
class Hits:
    """One channel's answer, best first: ids (n,) without repeats, scores (n,)."""

    ids: NDArray[np.integer]
    scores: NDArray[np.floating]


NO_HITS: Final = Hits(np.empty(0, np.int64), np.empty(0, np.float64))


@dataclass(frozen=True)
class Fused:
    """The candidates, best first: ids (n,), fused scores (n,), features (n, `candidate_columns`)."""

    ids: NDArray[np.int64]
    scores: Float32
    features: Float32


def candidate_columns(channels: Sequence[str]) -> tuple[str, ...]:
    """Names of `Fused.features`."""
    per_channel = (candidate_column(name, kind) for name in channels for kind in get_args(Kind))
    return (*per_channel, "fused_log_rank")


def candidate_column(channel: str, kind: Kind) -> str:
    """Name of what fusion says of a candidate on one channel's list."""
    return f"{channel}_{kind}"


def fuse(channels: Sequence[Hits], weights: Sequence[float], size: int) -> Fused:
    """Weighted RRF of the channels' lists, the first ``size``; ties in favour of the smaller id.

    Features per channel: score, score standardised within the channel's list, log(1 + rank from 0). An item that a
    channel did not return has that list's lowest score and the rank after its last. A channel without hits gives zeros.
    """
    ids = np.unique(np.concatenate([np.asarray(channel.ids, dtype=np.int64) for channel in channels]))
    total = np.zeros(len(ids))
    columns: list[NDArray[np.floating]] = []
    for channel, weight in zip(channels, weights, strict=True):
        n = len(channel.ids)
        if n == 0:
            columns += [np.zeros(len(ids))] * 3
            continue
        at = np.searchsorted(ids, channel.ids)
        rank, score = np.full(len(ids), n), np.full(len(ids), float(channel.scores.min()))
        rank[at], score[at] = np.arange(n), channel.scores
        total[at] += weight / (RRF_K + 1 + np.arange(n))
        spread = max(float(channel.scores.std()), 1e-6)
        columns += [score, (score - channel.scores.mean()) / spread, np.log1p(rank)]
    order = np.argsort(-total, kind="stable")[:size]
    features = np.stack([*(column[order] for column in columns), np.log1p(np.arange(len(order)))], axis=1)
    return Fused(ids[order], total[order].astype(np.float32), features.astype(np.float32))
