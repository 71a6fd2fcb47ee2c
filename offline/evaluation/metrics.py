"""Metrics of recommended lists: recall, hit rate, NDCG; means and paired differences with confidence intervals.

Lists are (users, k) item codes, best first, 0 where a list is shorter. Relevance is (users, items + 1), sparse, 1 where
a user liked an item in the held-out part. Per-user metrics return (users,) with NaN for users who liked nothing there:
they have no recall; `mean` leaves them out. Definitions agree with trec_eval (`recall`, `ndcg_cut`, `success`), as the
tests check.
"""

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Lists = NDArray[np.int64]
CUTS: Final = (10, 50, 200)
HEADLINES: Final[tuple[str, ...]] = ("recall@200", "recall@50", "ndcg@50", "hit_rate@50")  # the columns of tables


def hits(lists: Lists, relevance: sp.csr_matrix) -> NDArray[np.bool_]:
    """(users, k) whether the user liked the item at each rank."""
    liked = sp.csr_matrix(relevance[np.arange(len(lists))[:, None], lists]).toarray()
    found: NDArray[np.bool_] = (liked > 0) & (lists > 0)
    return found


def liked_counts(relevance: sp.csr_matrix) -> Floats:
    """(users,) liked items; NaN where there is none."""
    counts = np.diff(relevance.indptr).astype(np.float64)
    counts[counts == 0] = np.nan
    return counts


def recall(lists: Lists, relevance: sp.csr_matrix, k: int) -> Floats:
    """Share of a user's liked items within the first ``k``."""
    shares: Floats = hits(lists[:, :k], relevance).sum(axis=1) / liked_counts(relevance)
    return shares


def hit_rate(lists: Lists, relevance: sp.csr_matrix, k: int) -> Floats:
    """1 where at least one liked item is within the first ``k``."""
    found = hits(lists[:, :k], relevance).any(axis=1)
    return np.where(np.isnan(liked_counts(relevance)), np.nan, found)


def ndcg(lists: Lists, relevance: sp.csr_matrix, k: int) -> Floats:
    """Discounted cumulative gain, binary, over that of the best list of length ``k`` (Jarvelin & Kekalainen 2002)."""
    discount = 1 / np.log2(np.arange(k) + 2)
    best = np.concatenate([[0], np.cumsum(discount)])
    counts = liked_counts(relevance)
    ideal = best[np.minimum(np.nan_to_num(counts), k).astype(int)]
    gain = hits(lists[:, :k], relevance) @ discount[: lists.shape[1]]
    values: Floats = np.divide(gain, ideal, out=np.full(len(gain), np.nan), where=ideal > 0)
    return values


def per_user(relevance: sp.csr_matrix, lists: Lists) -> dict[str, Floats]:
    """Metrics at every cut that the lists are long enough for, (users,) each."""
    cuts = [k for k in CUTS if k <= lists.shape[1]]
    by_name = {"recall": recall, "ndcg": ndcg, "hit_rate": hit_rate}
    return {f"{name}@{k}": metric(lists, relevance, k) for name, metric in by_name.items() for k in cuts}


def mean(values: Floats, *, resamples: int = 1000, confidence: float = 0.95, seed: int = 0) -> dict[str, float]:
    """Mean over the ``users`` who have the metric; percentile bootstrap interval, ``low`` to ``high`` (Efron 1979).

    NaN where nobody has the metric.
    """
    there = values[~np.isnan(values)]
    if len(there) == 0:
        return {"mean": float("nan"), "low": float("nan"), "high": float("nan"), "users": 0}
    means = _drawn(len(there), resamples, seed) @ there / len(there)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return {"mean": float(there.mean()), "low": float(low), "high": float(high), "users": len(there)}


def compare(first: Floats, second: Floats, **bootstrap: Any) -> dict[str, float]:
    """Mean ``difference`` of a per-user metric, first less second, on the ``users`` who have both; ``low`` and ``high``
    as of `mean`; two-sided ``p_value`` of Student's paired t-test.

    ``bootstrap``: settings of `mean`.
    """
    from scipy import stats

    difference = first - second
    there = difference[~np.isnan(difference)]
    found = mean(there, **bootstrap)
    if len(there) < 2 or np.ptp(there) == 0:
        p_value = 1.0 if len(there) == 0 or there[0] == 0 else 0.0
    else:
        p_value = float(stats.ttest_1samp(there, 0.0).pvalue)
    interval = {"low": found["low"], "high": found["high"]}
    return {"difference": found["mean"], **interval, "p_value": p_value, "users": len(there)}


@lru_cache(maxsize=8)  # few numbers of users occur in one report
def _drawn(n: int, resamples: int, seed: int) -> NDArray[np.float32]:
    """(resamples, n) how often each of n users is drawn."""
    rng = np.random.default_rng(seed)
    return np.stack([np.bincount(rng.integers(0, n, n), minlength=n) for _ in range(resamples)]).astype(np.float32)


def plain(found: Mapping[str, Any]) -> dict[str, Any]:
    """Round to four significant digits; NaN and infinities, which JSON lacks, become null."""

    def of(value: Any) -> Any:
        if isinstance(value, dict):
            return plain(value)
        if isinstance(value, (list, tuple)):
            return [of(part) for part in value]
        if isinstance(value, float):
            return float(f"{value:.4g}") if math.isfinite(value) else None
        return value

    return {key: of(value) for key, value in found.items()}
