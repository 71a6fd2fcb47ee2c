"""Metrics of recommended lists: recall, hit rate, NDCG.

Lists are (users, k) item codes, best first, 0 where a list is shorter. Relevance is (users, items + 1), sparse, 1 where
a user liked an item in the held-out part. Per-user metrics return (users,) with NaN for users who liked nothing there:
they have no recall, and means leave them out. The tests compare with trec_eval (`recall`, `ndcg_cut`, `success`).
"""

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Lists = NDArray[np.int64]
CUTS: Final = (10, 50, 200)
HEADLINES: Final[tuple[str, ...]] = (
    "recall@200",
    "recall@50",
    "ndcg@50",
    "hit_rate@50",
)  # the columns of tables


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
    values: Floats = np.divide(
        gain, ideal, out=np.full(len(gain), np.nan), where=ideal > 0
    )
    return values


def per_user(relevance: sp.csr_matrix, lists: Lists) -> dict[str, Floats]:
    """Metrics at every cut that the lists are long enough for, (users,) each."""
    cuts = [k for k in CUTS if k <= lists.shape[1]]
    by_name = {"recall": recall, "ndcg": ndcg, "hit_rate": hit_rate}
    return {
        f"{name}@{k}": metric(lists, relevance, k)
        for name, metric in by_name.items()
        for k in cuts
    }


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
