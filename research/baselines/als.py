"""Implicit alternating least squares (Hu, Koren & Volinsky 2008), regularized as in Rendle et al. 2022."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from data_exchange_center.steps import progress
from offline.models.ease import Float32


@dataclass(frozen=True, eq=False)
class Factors:
    """Item factors, and the solver for users.

    Attributes:
        items: (items + 1, dim).
        l2: times (number of the user's events + ``unobserved`` x items), the frequency scaling of Rendle et al.
        unobserved: weight of a pair that was not observed.
    """

    items: Float32
    l2: float
    unobserved: float


def factorised(seen: sp.csr_matrix, dim: int, l2: float, unobserved: float, epochs: int, seed: int = 0) -> Factors:
    """Factors of the items of (users, items + 1) 0/1."""
    rng = np.random.default_rng(seed)
    items = rng.normal(0, 0.1 / np.sqrt(dim), (seen.shape[1], dim)).astype(np.float32)
    items[0] = 0
    columns = sp.csr_matrix(seen.T)
    for _ in progress(range(epochs), desc="iALS", unit="epoch", leave=False):
        users = solved(seen, items, l2, unobserved)
        items = solved(columns, users, l2, unobserved)
    return Factors(items, l2, unobserved)


def folded_in(weights: sp.csr_matrix, factors: Factors) -> Float32:
    """(users, items + 1) weights of what was observed -> (users, dim)."""
    return solved(weights, factors.items, factors.l2, factors.unobserved)


def solved(weights: sp.csr_matrix, others: Float32, l2: float, unobserved: float) -> Float32:
    """(n, m) weights of observed pairs, (m, dim) of the other side -> (n, dim): each row's weighted ridge regression.

    A row without anything observed is 0.
    """
    dim = others.shape[1]
    everything = unobserved * others.T @ others
    out = np.zeros((weights.shape[0], dim), dtype=np.float32)
    for row in np.flatnonzero(np.diff(weights.indptr)):
        own = slice(weights.indptr[row], weights.indptr[row + 1])
        near, weight = others[weights.indices[own]], weights.data[own].astype(np.float32)
        system = everything + (near * weight[:, None]).T @ near
        system[np.diag_indices(dim)] += l2 * (len(weight) + unobserved * len(others))
        out[row] = np.linalg.solve(system, near.T @ weight)
    return out
