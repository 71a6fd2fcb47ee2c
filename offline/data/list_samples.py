"""Some of the candidates of each list: what a batch of the ranker's training is made of."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from data_exchange_center.feature_kinds import Float32
from offline.data.lists import Lists


@dataclass(frozen=True, eq=False)
class ListSample:
    """A sample of m lists.

    Attributes:
        lists: (m, n) candidates instead of all, in fused order.
        log_weights: (m, n) logarithm of how many candidates of the whole list each stands for.
    """

    lists: Lists
    log_weights: Float32


def sampled(lists: Lists, size: int, rng: np.random.Generator, of: NDArray[np.bool_] | None = None) -> ListSample:
    """Of each list ``size`` candidates: what was liked, and random others.

    What was disliked or pads is taken last. A random one stands for those of its list that were not taken too, so that
    a softmax over the sample, with ``log_weights`` added to the scores, is one over the list (Jean et al. 2015).

    ``of``: which m of all lists, for which others draw, these are; each list's sample is the same, whoever draws.
    """
    m, c = lists.candidates.shape
    everyone = np.ones(m, dtype=np.bool_) if of is None else of
    size = min(size, c)
    left_out = lists.disliked | (lists.candidates == 0)
    key = rng.random((len(everyone), c), dtype=np.float32)[everyone]
    key[lists.liked] = -1
    key[left_out] = 1
    places = np.sort(np.argpartition(key, size - 1, axis=1)[:, :size], axis=1)
    is_random = ~(lists.liked | left_out)
    taken = np.take_along_axis(is_random, places, axis=1)
    stands_for = np.log(np.maximum(is_random.sum(axis=1), 1) / np.maximum(taken.sum(axis=1), 1))
    columns = {
        name: np.take_along_axis(getattr(lists, name), places, axis=1) for name in ("candidates", "liked", "disliked")
    }
    features = np.take_along_axis(lists.features, places[:, :, None], axis=1)
    return ListSample(
        replace(lists, features=features, **columns), np.where(taken, stands_for[:, None], 0).astype(np.float32)
    )
