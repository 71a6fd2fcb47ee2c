"""Ways to re-rank a list that `diverse_order` is compared with. Relevance is the same: what a place counts for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_exchange_center.features import Float32
from extras.diversity.diversity import diverse_order
from offline.evaluation.metrics import Floats

Order = NDArray[np.intp]
SMALLEST = 1e-10  # determinants below it are 0 but for rounding
OWN = 0.01  # of a kernel's diagonal that is an item's own: rows of d numbers would have no more than d items differ
ITEMS = 5.0  # an item's relevance beside the logarithm of a determinant
SMOOTHING = 0.01  # Steck 2018


@dataclass(frozen=True, eq=False)
class Listed:
    """One user's candidates in the ranker's order, and the user.

    Attributes:
        rows: (n, d) inner products say how alike items are.
        shares: (n, genres) one item's weight, spread evenly over its genres.
        wanted: (genres,) shares of the user's history.
        rarity: (n,) from 0 to 1.
    """

    rows: Float32
    shares: Floats
    wanted: Floats
    rarity: Float32

    @property
    def relevance(self) -> Floats:
        """(n,)."""
        return 1 / np.log2(np.arange(len(self.rows)) + 2)


Reranker = Callable[[Listed, float, int], Order]  # also given the strength, 0 to 1, and how many are shown


def served(listed: Listed, strength: float, size: int) -> Order:
    """By the mean similarity to what is chosen, and by rarity."""
    return diverse_order(listed.rows, listed.rarity, strength, size)


def mean_similarity(listed: Listed, strength: float, size: int) -> Order:
    """The same without rarity."""
    return diverse_order(listed.rows, np.zeros_like(listed.rarity), strength, size)


def largest_similarity(listed: Listed, strength: float, size: int) -> Order:
    """Maximal marginal relevance as published: the similarity is that to the nearest (Carbonell & Goldstein 1998)."""
    alike = listed.rows @ listed.rows.T
    worth, nearest = (1 - strength) * listed.relevance, np.zeros(len(alike))
    chosen: list[int] = []
    for place in range(min(size, len(alike))):
        best = _best(worth - strength * nearest, chosen)
        nearest = alike[best] if place == 0 else np.maximum(nearest, alike[best])
        chosen.append(best)
    return np.array(chosen, np.intp)


def determinantal(listed: Listed, strength: float, size: int) -> Order:
    """Greedy MAP of a determinantal point process (Chen, Zhang, Zhou 2018, algorithm 1)."""
    n = len(listed.rows)
    kernel = (1 - OWN) * listed.rows @ listed.rows.T + OWN * np.eye(n)
    worth = (1 - strength) / strength * ITEMS * listed.relevance
    rest, factors = kernel.diagonal().copy(), np.zeros((min(size, n), n))
    chosen: list[int] = []
    for place in range(min(size, n)):
        best = _best(worth + np.log(np.maximum(rest, SMALLEST)), chosen)
        factors[place] = kernel[best] - factors[:place, best] @ factors[:place]
        factors[place] /= np.sqrt(max(rest[best], SMALLEST))
        rest = rest - factors[place] ** 2
        chosen.append(best)
    return np.array(chosen, np.intp)


def calibrated(listed: Listed, strength: float, size: int) -> Order:
    """Genres in the shares of the history (Steck 2018, section 4)."""
    wanted = listed.wanted > 0
    target, shares = listed.wanted[wanted], listed.shares[:, wanted]
    weights, given, total = listed.shares.sum(axis=1), np.zeros(len(target)), 0.0
    chosen: list[int] = []
    for _ in range(min(size, len(shares))):
        then = (given + shares) / np.maximum(total + weights, SMALLEST)[:, None]
        smooth = (1 - SMOOTHING) * then + SMOOTHING * target
        missed = (target * np.log2(target / smooth)).sum(axis=1)
        best = _best((1 - strength) * listed.relevance - strength * missed, chosen)
        given, total = given + shares[best], total + weights[best]
        chosen.append(best)
    return np.array(chosen, np.intp)


def rare_first(listed: Listed, strength: float, size: int) -> Order:
    """Rare items are brought up, whatever else is shown."""
    worth = (1 - strength) * listed.relevance + strength * listed.rarity
    order: Order = np.argsort(-worth, kind="stable")[:size]
    return order


def _best(worth: Floats, chosen: list[int]) -> int:
    worth[chosen] = -np.inf
    return int(worth.argmax())
