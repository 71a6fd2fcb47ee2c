"""Metrics of lists: recall, hit rate, NDCG; AUC, GAUC, coverage, Gini, novelty, intra-list diversity.

Lists and relevance are those of `extras.replay`. Per-user metrics return (users,) with NaN for users who liked nothing
in the held-out part: they have no recall, and means leave them out. Tests compare with trec_eval (`recall`, `ndcg_cut`,
`success`) and, AUC, with scikit-learn.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy import stats

from data_exchange_center.channels import BREAK_S
from extras.comparison import Floats
from extras.replay import Answers, Holdout, Lists, gaps, hits, kept, liked_counts, ndcg

CUTS: Final = (10, 50, 200)
HEADLINES: Final[tuple[str, ...]] = (
    "recall@200",
    "recall@50",
    "ndcg@50",
    "hit_rate@50",
)  # the columns of tables


def recall(lists: Lists, relevance: sp.csr_matrix, k: int) -> Floats:
    """Share of a user's liked items within the first ``k``."""
    shares: Floats = hits(lists[:, :k], relevance).sum(axis=1) / liked_counts(relevance)
    return shares


def hit_rate(lists: Lists, relevance: sp.csr_matrix, k: int) -> Floats:
    """1 where at least one liked item is within the first ``k``."""
    found = hits(lists[:, :k], relevance).any(axis=1)
    return np.where(np.isnan(liked_counts(relevance)), np.nan, found)


def per_user(relevance: sp.csr_matrix, lists: Lists) -> dict[str, Floats]:
    """Metrics at every cut that the lists are long enough for, (users,) each."""
    cuts = [k for k in CUTS if k <= lists.shape[1]]
    by_name = {"recall": recall, "ndcg": ndcg, "hit_rate": hit_rate}
    return {
        f"{name}@{k}": metric(lists, relevance, k)
        for name, metric in by_name.items()
        for k in cuts
    }


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
    labelled = ~np.isnan(labels)
    ranks = stats.rankdata(np.where(labelled, scores, -np.inf), axis=1) - (
        ~labelled
    ).sum(axis=1, keepdims=True)
    ones, zeros = (labels == 1).sum(axis=1), (labels == 0).sum(axis=1)
    right = np.where(labels == 1, ranks, 0).sum(axis=1) - ones * (ones + 1) / 2
    pairs = ones * zeros
    areas: Floats = np.divide(
        right, pairs, out=np.full(len(pairs), np.nan), where=pairs > 0
    )
    return areas


def gauc(scores: Floats, labels: Floats) -> float:
    """Mean of `user_auc` weighted by each user's labelled rows (Zhou et al. 2018, section 6.3); NaN without one."""
    areas = user_auc(scores, labels)
    there = ~np.isnan(areas)
    rows = (~np.isnan(labels)).sum(axis=1)[there]
    return (
        float(np.average(areas[there], weights=rows)) if there.any() else float("nan")
    )


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
    means: Floats = np.divide(
        total, counts, out=np.full(len(lists), np.nan), where=counts > 0
    )
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


# Groups of users by time and activity, popularity of items, answers that are judged.


FEW, MANY = 50, 200  # ratings before the request


def slices(holdout: Holdout) -> Mapping[str, NDArray[np.bool_]]:
    """Name -> (users,) True for the users in it; those without a past are in none by time.

    ``holdout``: with requests at their own times.
    """
    has_past, gap = holdout.known.lengths > 0, gaps(holdout.past, holdout.times)
    return {
        "first of its second": has_past & (gap > 0),
        "returning": holdout.returning,
        "same session": has_past & (gap < BREAK_S),
        "few ratings": holdout.past.lengths < FEW,
        "many ratings": holdout.past.lengths >= MANY,
    }


def popularity(holdout: Holdout) -> Floats:
    """(items + 1,) share of users who rated an item before."""
    share: Floats = np.asarray(holdout.past.seen().sum(axis=0)).ravel() / max(
        holdout.past.n_users, 1
    )
    return share


def judged_answers(holdout: Holdout, answers: Answers) -> Answers:
    """All lists `Holdout.judged`, with their scores, and then cut to the length that is shown."""
    judges = holdout.judges(answers.ranked)
    channels = {name: holdout.judged(lists) for name, lists in answers.channels.items()}
    ranked, scores = (
        kept(answers.ranked, judges, 0),
        kept(answers.scores, judges, np.nan),
    )
    return Answers(channels, holdout.judged(answers.fused), ranked, scores).shown()
