"""Metrics of recommended lists: recall, hit rate, NDCG, AUC, coverage, Gini, novelty, diversity; confidence intervals.

Lists are (users, k) item codes, best first, 0 where a list is shorter. Relevance is (users, items + 1), sparse, 1 where
a user liked an item in the held-out part. Per-user metrics return (users,) with NaN for users who liked nothing there:
they have no recall; `mean` leaves them out. Definitions agree with trec_eval (`recall`, `ndcg_cut`, `success`) and, for
AUC, with scikit-learn, as the tests check.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Lists = NDArray[np.int64]


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


def auc(scores: Floats, labels: Floats) -> float:
    """Area under the ROC curve of (n,) scores for labels 1 and 0, ties counted half; NaN labels are left out.

    NaN where one of the two classes is absent.
    """
    return float(user_auc(scores[None], labels[None])[0])


def user_auc(scores: Floats, labels: Floats) -> Floats:
    """(users, k) scores, labels 1, 0 or NaN (not labelled) -> (users,) AUC of each user's labelled rows.

    The share of (1, 0) pairs in the right order, from the sum of ranks (Mann & Whitney 1947). NaN where a class is
    absent.
    """
    from scipy import stats  # takes a second to import, and only evaluation needs it

    labelled = ~np.isnan(labels)
    ranks = stats.rankdata(np.where(labelled, scores, -np.inf), axis=1) - (~labelled).sum(axis=1, keepdims=True)
    ones, zeros = (labels == 1).sum(axis=1), (labels == 0).sum(axis=1)
    right = np.where(labels == 1, ranks, 0).sum(axis=1) - ones * (ones + 1) / 2
    pairs = ones * zeros
    areas: Floats = np.divide(right, pairs, out=np.full(len(pairs), np.nan), where=pairs > 0)
    return areas


def gauc(scores: Floats, labels: Floats) -> float:
    """Mean of `user_auc` weighted by each user's labelled rows (Zhou et al. 2018, section 6.3); NaN without one."""
    areas = user_auc(scores, labels)
    there = ~np.isnan(areas)
    rows = (~np.isnan(labels)).sum(axis=1)[there]
    return float(np.average(areas[there], weights=rows)) if there.any() else float("nan")


def coverage(lists: Lists, n_items: int) -> float:
    """Share of the catalogue that is on anybody's list."""
    return float(len(np.setdiff1d(lists, [0])) / n_items)


def gini(lists: Lists, n_items: int) -> float:
    """Inequality of how often items are recommended: 0 all equally often, 1 a single item everywhere."""
    counts = np.sort(np.bincount(lists[lists > 0], minlength=n_items + 1)[1:])
    if counts.sum() == 0:
        return float("nan")
    rank = np.arange(1, n_items + 1)
    return float(((2 * rank - n_items - 1) * counts).sum() / (n_items * counts.sum()))


def novelty(lists: Lists, popularity: Floats) -> Floats:
    """(users,) mean self-information -log2 p of the list's items (Zhou et al. 2010).

    ``popularity``: (items + 1,) share of users who rated an item; 0 counts as the smallest share above 0.
    """
    information = -np.log2(np.maximum(popularity, popularity[popularity > 0].min()))
    counts = np.count_nonzero(lists, axis=1)
    total = np.where(lists > 0, information[lists], 0).sum(axis=1)
    means: Floats = np.divide(total, counts, out=np.full(len(lists), np.nan), where=counts > 0)
    return means


def diversity(lists: Lists, features: Floats) -> Floats:
    """(users,) intra-list diversity: mean of 1 - cosine over the pairs of a list (Ziegler et al. 2005).

    ``features``: (items + 1, m), for example genre flags; an item without any is unlike every other.
    """
    norm = np.linalg.norm(features, axis=1, keepdims=True)
    unit = np.divide(features, norm, out=np.zeros_like(features), where=norm > 0)
    out = np.full(len(lists), np.nan)
    for user, codes in enumerate(lists):
        rows = unit[codes[codes > 0]]
        n = len(rows)
        if n > 1:
            total = rows.sum(axis=0)
            out[user] = 1 - (total @ total - (rows * rows).sum()) / (n * (n - 1))
    return out


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
