"""Ids and their codes, and the channels' lists fused into one, with the ranker's features of each item.

Server, training lists and evaluation call the same `fuse` (weighted reciprocal ranks) on what an index returns: ids and
scores, best first; extensions may order the result again. Codes of a `Vocabulary` are 1..n in ascending order of the
ids. Code 0 is padding and stands for an unknown id.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

Float32 = NDArray[np.float32]
Kind = Literal["score", "z_score", "log_rank"]  # in the order of `fuse`
KINDS: Final = len(get_args(Kind))
RRF_K = 60  # Cormack, Clarke, Buettcher (2009)


@dataclass(frozen=True)
class Hits:
    """One channel's answer, best first: ids (n,) without repeats, scores (n,)."""

    ids: NDArray[np.integer]
    scores: NDArray[np.floating]


NO_HITS: Final = Hits(np.empty(0, np.int64), np.empty(0, np.float64))


# --- ids and their codes

UNKNOWN: Final = 0  # code of padding, and of an id that is not known
NOT_FOUND: Final = np.float32(-np.inf)  # score of an item that is not returned


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """Sorted ids; the code of ``ids[c - 1]`` is c."""

    ids: NDArray[Any]  # (n,) numbers or strings, ascending, each once

    @classmethod
    def of(cls, ids: ArrayLike) -> "Vocabulary":
        """Sort ids that may repeat."""
        return cls(np.unique(np.asarray(ids)))

    def __len__(self) -> int:
        return len(self.ids)

    def codes(self, ids: ArrayLike) -> NDArray[np.int64]:
        """Look up ids of any shape. Returns their codes, `UNKNOWN` for those that are not in the vocabulary."""
        wanted = np.asarray(ids)
        if not len(self.ids):
            return np.zeros(wanted.shape, np.int64)
        position = np.minimum(np.searchsorted(self.ids, wanted), len(self.ids) - 1)
        return np.where(self.ids[position] == wanted, position + 1, UNKNOWN)


# --- several lists fused into one


@dataclass(frozen=True)
class Fused:
    """The candidates, best first: ids (n,), fused scores (n,), features (n, `candidate_columns`)."""

    ids: NDArray[np.int64]
    scores: Float32
    features: Float32


def candidate_columns(channels: Sequence[str]) -> tuple[str, ...]:
    """Names of `Fused.features`."""
    per_channel = (f"{name}_{kind}" for name in channels for kind in get_args(Kind))
    return (*per_channel, "fused_log_rank")


def fuse(channels: Sequence[Hits], weights: Sequence[float], size: int) -> Fused:
    """Weighted RRF of the channels' lists, the first ``size``; ties in favour of the smaller id.

    Features per channel: score, score standardised within the channel's list, log(1 + rank from 0). An item that is not
    on a channel's list gets that list's last score and z-score, and rank n. A channel without hits gives zeros.
    """
    lists = [np.asarray(channel.ids, dtype=np.int64) for channel in channels]
    # each once, as `np.unique`, which takes several times as long for a few hundred
    ids = np.concatenate(lists)
    ids.sort()
    first = np.ones(len(ids), np.bool_)
    np.not_equal(ids[1:], ids[:-1], out=first[1:])
    ids = ids[first]
    total = np.zeros(len(ids))
    # a row each, until they are in order
    columns = np.zeros((KINDS * len(lists) + 1, len(ids)))
    for n, (found, weight) in enumerate(zip(lists, weights, strict=True)):
        if len(found):
            at = ids.searchsorted(found)
            scores = channels[n].scores
            spread = z_scores(scores, scores)
            log_ranks, earned = _by_rank(len(found))
            ends = scores[-1], spread[-1], log_ranks[-1]
            own = columns[KINDS * n : KINDS * (n + 1)]
            for column, values, end in zip(
                own, (scores, spread, log_ranks[:-1]), ends, strict=True
            ):
                column.fill(end)
                column[at] = values
            total[at] += weight / earned
    order = np.argsort(-total, kind="stable")[:size]
    features = np.ascontiguousarray(columns[:, order].T, dtype=np.float32)
    features[:, -1] = np.log1p(np.arange(len(order)))
    return Fused(ids[order], total[order].astype(np.float32), features)


def z_scores(
    values: NDArray[np.floating], scores: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Z-scores of ``values``, by mean and deviation of a list's ``scores``."""
    # a sum over n is what .mean() gives, which takes twice as long for a few hundred
    n = len(scores)
    mean = scores.sum() / n
    deviations = scores - mean
    spread = max(float(np.sqrt((deviations * deviations).sum() / n)), 1e-6)
    standardised: NDArray[np.float64] = (values.astype(np.float64) - mean) / spread
    return standardised


@lru_cache(maxsize=64)
def _by_rank(n: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """log(1 + rank) for ranks 0..n, where n is for items not on the list; divisors of reciprocal ranks, (n,)."""
    return np.log1p(np.arange(n + 1)), RRF_K + 1 + np.arange(n)
