"""Fusion of the channels' lists into one (weighted reciprocal ranks), and the ranker's features of each candidate.

Server, training lists and evaluation call the same `fuse` on what an index returns: ids and scores, best first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Kind = Literal["score", "standing", "log_rank"]  # in the order of `fuse`
_KINDS: Final = len(get_args(Kind))
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
    channel did not return has the score of that list's last and the rank after it. A channel without hits gives zeros.
    """
    lists = [np.asarray(channel.ids, dtype=np.int64) for channel in channels]
    ids = _distinct(np.concatenate(lists))
    total = np.zeros(len(ids))
    columns = np.zeros((_KINDS * len(lists) + 1, len(ids)))  # a row each, until they are in order
    for n, (found, weight) in enumerate(zip(lists, weights, strict=True)):
        if len(found):
            at, scores = ids.searchsorted(found), channels[n].scores
            standings, (log_ranks, earned) = _standings(scores), _by_rank(len(found))
            ends = scores[-1], standings[-1], log_ranks[-1]
            own = columns[_KINDS * n : _KINDS * (n + 1)]
            for column, values, end in zip(own, (scores, standings, log_ranks[:-1]), ends, strict=True):
                column.fill(end)
                column[at] = values
            total[at] += weight / earned
    order = np.argsort(-total, kind="stable")[:size]
    features = np.ascontiguousarray(columns[:, order].T, dtype=np.float32)
    features[:, -1] = np.log1p(np.arange(len(order)))
    return Fused(ids[order], total[order].astype(np.float32), features)


def _distinct(ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Unique ids, as `np.unique`, which takes several times as long for a few hundred; sorts ``ids`` in place."""
    ids.sort()
    first = np.ones(len(ids), np.bool_)
    np.not_equal(ids[1:], ids[:-1], out=first[1:])
    return ids[first]


def _standings(scores: NDArray[np.floating]) -> NDArray[np.float64]:
    n = len(scores)  # a sum over n is what .mean() gives, which takes twice as long for a few hundred
    mean = scores.sum() / n
    deviations = scores - mean
    spread = max(float(np.sqrt((deviations * deviations).sum() / n)), 1e-6)
    standings: NDArray[np.float64] = (scores.astype(np.float64) - mean) / spread
    return standings


@lru_cache(maxsize=64)
def _by_rank(n: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """log(1 + rank) for ranks 0..n, where n is for items not on the list; divisors of reciprocal ranks, (n,)."""
    return np.log1p(np.arange(n + 1)), RRF_K + 1 + np.arange(n)
