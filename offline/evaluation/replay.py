"""Replay of what users went on to like: top lists of several systems in, one report out.

The same function judges lists made from the artifacts and lists that the running server returned.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from data_exchange_center.channels import BREAK_S
from offline.data.sequences import Sequences
from offline.evaluation import metrics
from offline.evaluation.metrics import Floats, Lists

CUTS = (10, 50, 200)
FEW, MANY = 50, 200  # ratings before the request
SLICED = ("recall@200", "recall@50", "ndcg@50", "hit_rate@50")  # metrics shown of slices


@dataclass(frozen=True)
class Held:
    """The past that systems may know, and the part that only evaluation reads.

    Attributes:
        relevance: (users, items + 1) 1 where a user liked an item of the held-out part.
        popularity: (items + 1,) share of users who rated an item before.
        slices: name -> (users,) who is in it.
    """

    past: Sequences
    relevance: sp.csr_matrix
    popularity: Floats
    slices: Mapping[str, NDArray[np.bool_]]


def held_out(data: Sequences, last: int = 10) -> Held:
    """Cut each user's ``last`` events off. Users without a past are in no slice by time."""
    past, future = data.before_last(last), data.last(last)
    ones = np.ones(int(future.liked.sum()), dtype=np.float32)
    at = (future.users[future.liked], future.items[future.liked])
    relevance = sp.csr_matrix((ones, at), shape=(data.n_users, data.n_items + 1))
    popularity = np.bincount(past.items, minlength=data.n_items + 1) / max(data.n_users, 1)
    known = (past.lengths > 0) & (future.lengths > 0)
    gap = np.zeros(data.n_users, dtype=np.int64)
    gap[known] = future.times[future.starts[:-1][known]] - past.times[past.starts[1:][known] - 1]
    slices = {
        "returning": known & (gap >= BREAK_S),
        "same sitting": known & (gap < BREAK_S),
        "few ratings": past.lengths < FEW,
        "many ratings": past.lengths >= MANY,
    }
    return Held(past, relevance, popularity, slices)


def report(
    held: Held,
    systems: Mapping[str, Lists],
    *,
    channels: Mapping[str, Lists],
    fused: Lists,
    ranked: Lists,
    genres: Floats,
    baseline: str,
) -> dict[str, Any]:
    """Everything that is shown, as JSON.

    Args:
        systems: name -> (users, >= 1) codes, best first, 0 where shorter.
        channels: name -> each recall channel's list.
        fused: candidates in recall's order; ``ranked``: the same candidates in the ranker's.
        genres: (items + 1, genres) 0/1 for intra-list diversity.
        baseline: the system that the others are compared with.
    """
    return {
        "users": int(np.count_nonzero(np.diff(held.relevance.indptr))),
        "systems": {name: _system(held, lists, genres) for name, lists in systems.items()},
        "against": {
            name: _comparisons(held, lists, systems[baseline]) for name, lists in systems.items() if name != baseline
        },
        "baseline": baseline,
        "slices": {name: _slices(held, lists) for name, lists in systems.items()},
        "funnel": funnel(held, channels, fused, ranked),
        "ranking": _comparisons(held, ranked, fused),
    }


def funnel(held: Held, channels: Mapping[str, Lists], fused: Lists, ranked: Lists) -> dict[str, Any]:
    """Share of liked items (mean over users) that each stage still holds."""

    def share(found: NDArray[np.bool_] | sp.csr_matrix) -> float:
        return float(np.nanmean(np.asarray(found.sum(axis=1)).ravel() / metrics.liked_counts(held.relevance)))

    found = {name: _found(lists, held.relevance) for name, lists in channels.items()}
    finders = np.sum([part.toarray() for part in found.values()], axis=0)  # (users, items + 1) channels that found it
    alone = {name: share(part.toarray() * (finders == 1)) for name, part in found.items()}
    return {
        "channels": {name: {"found": share(part), "by no other": alone[name]} for name, part in found.items()},
        "found by any": share(finders > 0),
        "kept by fusion": share(_found(fused, held.relevance)),
        "ranked": {f"top {k}": share(_found(ranked[:, :k], held.relevance)) for k in (50, 10)},
        "recalled order": {f"top {k}": share(_found(fused[:, :k], held.relevance)) for k in (50, 10)},
    }


def _system(held: Held, lists: Lists, genres: Floats) -> dict[str, Any]:
    top = lists[:, :50]
    n_items = held.relevance.shape[1] - 1
    return {
        **{name: asdict(metrics.mean(values)) for name, values in _per_user(held.relevance, lists).items()},
        "coverage@50": metrics.coverage(top, n_items),
        "gini@50": metrics.gini(top, n_items),
        "novelty@50": asdict(metrics.mean(metrics.novelty(top, held.popularity))),
        "diversity@50": asdict(metrics.mean(metrics.diversity(top, genres))),
    }


def _per_user(relevance: sp.csr_matrix, lists: Lists) -> dict[str, Floats]:
    """Metrics at every cut that the lists are long enough for."""
    cuts = [k for k in CUTS if k <= lists.shape[1]]
    named = {"recall": metrics.recall, "ndcg": metrics.ndcg, "hit_rate": metrics.hit_rate}
    return {f"{name}@{k}": metric(lists, relevance, k) for name, metric in named.items() for k in cuts}


def _sliced(relevance: sp.csr_matrix, lists: Lists) -> dict[str, Floats]:
    return {name: values for name, values in _per_user(relevance, lists).items() if name in SLICED}


def _comparisons(held: Held, first: Lists, second: Lists) -> dict[str, Any]:
    one, other = _per_user(held.relevance, first), _per_user(held.relevance, second)
    return {name: asdict(metrics.compare(one[name], other[name])) for name in one if name in other}


def _slices(held: Held, lists: Lists) -> dict[str, Any]:
    values = _sliced(held.relevance, lists)
    of_users = {
        slice_name: {name: asdict(metrics.mean(np.where(inside, value, np.nan))) for name, value in values.items()}
        for slice_name, inside in held.slices.items()
    }
    return of_users | {
        name: {key: asdict(metrics.mean(value)) for key, value in _sliced(part, lists).items()}
        for name, part in _by_popularity(held).items()
    }


def _by_popularity(held: Held) -> dict[str, sp.csr_matrix]:
    """Relevance of the films that draw the upper half of all ratings, and of all the others."""
    order = np.argsort(-held.popularity, kind="stable")
    popular = np.zeros(len(order), dtype=bool)
    popular[order[np.cumsum(held.popularity[order]) <= held.popularity.sum() / 2]] = True
    parts = {}
    for name, mask in (("popular films", popular), ("rare films", ~popular)):
        part = sp.csr_matrix(held.relevance.multiply(mask[None, :].astype(np.float32)))
        part.eliminate_zeros()
        parts[name] = part
    return parts


def _found(lists: Lists, relevance: sp.csr_matrix) -> sp.csr_matrix:
    """(users, items + 1) 1 where a liked item is on the user's list."""
    mask = metrics.hits(lists, relevance)
    users = np.nonzero(mask)[0]
    return sp.csr_matrix((np.ones(len(users), dtype=np.int8), (users, lists[mask])), shape=relevance.shape)


def popular_lists(past: Sequences, size: int) -> Lists:
    """Baseline: the most liked items that a user has not rated."""
    clicks = np.bincount(past.items[past.liked], minlength=past.n_items + 1).astype(np.float32)
    return best_unseen(np.broadcast_to(clicks, (past.n_users, len(clicks))), past.seen(), size)


def item_item_lists(past: Sequences, weights: NDArray[np.float32], size: int) -> Lists:
    """Baseline: sum of the weights of everything a user has rated; for EASE and item-kNN."""
    return best_unseen(past.seen() @ weights, past.seen(), size)


def best_unseen(scores: NDArray[np.floating], seen: sp.csr_matrix, size: int) -> Lists:
    """(users, items + 1) scores -> (users, size) codes, best first, ties in favour of the smaller code; 0 pads."""
    size = min(size, scores.shape[1] - 1)
    masked = np.array(scores, dtype=np.float32)
    masked[seen.nonzero()] = -np.inf
    masked[:, 0] = -np.inf
    top = np.argsort(-masked, axis=1, kind="stable")[:, :size]
    values = np.take_along_axis(masked, top, axis=1)
    lists: Lists = np.where(np.isfinite(values), top, 0)
    return lists
