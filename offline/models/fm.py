"""Factorization machine of user and item, for recall."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from offline.models.layers import FieldEmbedding


class FM(nn.Module):
    """Factorization machine on two ids: w0 + w_user + w_item + <v_user, v_item>.

    Code 0 is the unknown user and the unknown item.
    Shapes: (batch, 2) int64 codes -> (batch, 1) logits.
    """

    def __init__(self, n_users: int, n_items: int, dim: int) -> None:
        super().__init__()
        self.n_users = n_users
        self.bias = nn.Parameter(torch.zeros(1))
        self.linear = FieldEmbedding((n_users, n_items), 1, init_std=0.0)
        self.factors = FieldEmbedding((n_users, n_items), dim)

    def forward(self, codes: Tensor) -> Tensor:
        vectors = self.factors(codes)  # (batch, 2, dim)
        interaction = (vectors[:, 0] * vectors[:, 1]).sum(dim=1, keepdim=True)  # (batch, 1)
        logits: Tensor = self.bias + self.linear(codes).sum(dim=1) + interaction
        return logits

    def user_factors(self) -> Tensor:
        """(n_users, dim), the unknown user first."""
        return self.factors.table.weight.detach()[: self.n_users]

    def item_factors(self) -> Tensor:
        """(n_items, dim), the unknown item first."""
        return self.factors.table.weight.detach()[self.n_users :]

    def item_bias(self) -> Tensor:
        """(n_items,), the unknown item first."""
        return self.linear.table.weight.detach()[self.n_users :, 0]
