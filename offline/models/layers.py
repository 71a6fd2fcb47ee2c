"""Layers of factorization machines (Rendle, "Factorization Machines", ICDM 2010). Pure torch: no paths, no data."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

INIT_STD = 0.01


class FieldEmbedding(nn.Module):
    """Embeddings of several one-hot fields in one table; code 0 of every field is the unknown value, which is zero.

    Shapes: codes (batch, fields) -> (batch, fields, dim).
    """

    def __init__(self, cardinalities: Sequence[int], dim: int, init_std: float = INIT_STD) -> None:
        super().__init__()
        offsets = torch.tensor([0, *cardinalities], dtype=torch.int64).cumsum(0)[:-1]
        self.offsets: Tensor
        self.register_buffer("offsets", offsets, persistent=False)
        self.table = nn.Embedding(sum(cardinalities), dim)
        with torch.no_grad():
            self.table.weight.normal_(std=init_std)
            self.table.weight[offsets] = 0.0

    def forward(self, codes: Tensor) -> Tensor:
        embedded: Tensor = self.table(codes + self.offsets)
        return embedded


def pairwise_interactions(total: Tensor, squares: Tensor) -> Tensor:
    """Sum over all pairs of <v_i, v_j> x_i x_j, in linear time (Rendle 2010, Lemma 3.1).

    Args:
        total: (batch, dim) sum of v_i x_i.
        squares: (batch, dim) sum of (v_i x_i)^2.

    Returns:
        (batch, 1)
    """
    return 0.5 * (total * total - squares).sum(dim=1, keepdim=True)


def first_rating_weights(
    levels: int, positive_level: int, disliked: Sequence[float], liked: Sequence[float]
) -> torch.Tensor:
    """(levels + 1,) weights of an event by its rating's code, to start from; 0 for padding.

    ``disliked`` and ``liked`` are the weights from the lowest level to the highest of each kind; what lies between is
    interpolated.
    """

    def spread(weights: Sequence[float], n: int) -> list[float]:
        at = np.linspace(0, 1, n) if n > 1 else np.ones(n)
        values: list[float] = np.interp(at, np.linspace(0, 1, len(weights)), weights).tolist()
        return values

    return torch.tensor([0.0, *spread(disliked, positive_level), *spread(liked, levels - positive_level)])


class Pick(nn.Module):
    """Some columns of rows: (..., width) -> (..., columns)."""

    def __init__(self, columns: Sequence[int]) -> None:
        super().__init__()
        self.columns: Tensor
        self.register_buffer("columns", torch.tensor(list(columns), dtype=torch.int64), persistent=False)

    def forward(self, rows: Tensor) -> Tensor:
        return rows.index_select(-1, self.columns)
