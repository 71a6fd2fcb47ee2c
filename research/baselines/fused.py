"""The best fusion of baselines by reciprocal ranks (Cormack, Clarke & Buettcher 2009)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

from data_exchange_center.fusion import RRF_K
from offline.evaluation.metrics import Lists
from offline.evaluation.served import top
from offline.models.ease import Float32
from research.baselines.contract import SIZE

WEIGHTS: Final = (0.25, 0.5, 1.0, 2.0)  # of a list that joins; the first list has 1
Weights = dict[str, float]  # baseline -> weight


def reciprocal_ranks(lists: Lists, n_items: int) -> Float32:
    """(users, k) codes -> (users, items + 1) float32: 1 / (60 + rank) of what is on a list."""
    out = np.zeros((len(lists), n_items + 1), dtype=np.float32)
    np.put_along_axis(out, lists, (1 / (RRF_K + np.arange(1, lists.shape[1] + 1)))[None, :], axis=1)
    out[:, 0] = 0
    return out


def fused(lists: Mapping[str, Lists], weights: Weights, n_items: int, size: int = SIZE) -> Lists:
    """(users, size) best first, ties in favour of the smaller code; 0 pads."""
    scores = np.asarray(sum(weight * reciprocal_ranks(lists[name], n_items) for name, weight in weights.items()))
    return top(np.where(scores > 0, scores, -np.inf).astype(np.float32), size)


def greedy(
    lists: Mapping[str, Lists], value: Callable[[Lists], float], n_items: int
) -> tuple[Weights, list[tuple[Weights, float]]]:
    """The best single list; then, as long as it helps, the list and weight that help most. Also all that was tried.

    Args:
        value: of a list, the higher the better, on the ratings that choices are made on.
    """
    tried = [({name: 1.0}, value(each)) for name, each in lists.items()]
    chosen, best = max(tried, key=lambda each: each[1])
    while others := [name for name in lists if name not in chosen]:
        joined = [{**chosen, name: weight} for name in others for weight in WEIGHTS]
        found = [(weights, value(fused(lists, weights, n_items))) for weights in joined]
        tried += found
        weights, reached = max(found, key=lambda each: each[1])
        if reached <= best:
            break
        chosen, best = weights, reached
    return chosen, tried
