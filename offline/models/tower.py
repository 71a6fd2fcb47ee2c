"""Two-tower factorization machine: the sum of a user's field vectors times the sum of an item's field vectors.

Rendle (2010), "Factorization Machines", with the pairs inside one side left out, as they cannot reorder items; trained
as Covington et al. (2016) train candidate generation: softmax over the items. Item popularity is one more dimension.

A user is profile + weighted sums of item rows over the history, and a layer of hidden units that reads these. There is
no user id, so a user's vector can be updated, or made for a new user, from `Tower.channel` with numpy alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from data_exchange_center.channels.history_sum import HistorySum
from offline.models.layers import first_rating_weights

REGIMES = 2  # 0: the session goes on; 1: the user comes back after a break


@dataclass(frozen=True)
class TowerShape:
    """Sizes of the tower."""

    items: int  # codes 1..items
    genres: int
    profile: tuple[int, ...]  # cardinality of each profile field; code 0 is an unknown value
    levels: int = 5  # of ratings: their codes are 1..levels
    positive_level: int = 3  # codes above this are likes
    dim: int = 64
    history: int = 100  # events looked back at
    fields: int = 2  # history fields, each with item rows of its own: the first starts fast, the last slow
    hidden: int = 0  # units of the layer that is added to the sums; 0: none


class Tower(nn.Module):
    """(history, profile) -> user vectors; item vectors with popularity as the last dimension."""

    genres: Tensor  # (items + 1, genres) each item's genres, summing to 1

    def __init__(
        self, shape: TowerShape, genres: NDArray[np.float32], popularity: NDArray[np.float32], dropout: float = 0.2
    ) -> None:
        """``genres``: (items + 1, genres) 0/1; ``popularity``: (items + 1,) clicks. Row 0 is padding."""
        super().__init__()
        self.shape = shape
        share = genres / np.maximum(genres.sum(axis=1, keepdims=True), 1)
        self.register_buffer("genres", torch.from_numpy(share.astype(np.float32)))
        rows, d = shape.items + 1, shape.dim
        self.item = nn.Embedding(rows, d, padding_idx=0)
        self.item_genre = nn.Parameter(torch.randn(shape.genres, d) * 0.05)
        self.bias = nn.Parameter(torch.from_numpy(np.log1p(popularity).astype(np.float32)))
        self._history = [nn.Embedding(rows, d, padding_idx=0) for _ in range(shape.fields)]
        self.history = nn.ModuleList(self._history)
        self.history_genre = nn.Parameter(torch.randn(shape.fields, shape.genres, d) * 0.05)
        self._profile = [nn.Embedding(n, d, padding_idx=0) for n in shape.profile]  # code 0: unknown
        self.profile = nn.ModuleList(self._profile)
        self.regime = nn.Embedding(REGIMES, d)
        for table in (self.item, *self._history, *self._profile, self.regime):
            nn.init.normal_(table.weight, std=0.05)
            if table.padding_idx is not None:
                with torch.no_grad():
                    table.weight[0] = 0
        lag = torch.arange(1, shape.history + 1).float()
        powers = torch.linspace(-0.8, -0.2, shape.fields)
        self.lag = nn.Parameter((lag[None, :] ** powers[:, None])[:, None].repeat(1, REGIMES, 1))
        first = first_rating_weights(shape.levels, shape.positive_level, (0.4, 0.5, 0.7), (1.0, 1.1))
        self.rating_weight = nn.Parameter(first.repeat(shape.fields, REGIMES, 1))
        self.dropout = nn.Dropout(dropout)
        if shape.hidden:
            self.up = nn.Linear(shape.fields * d, shape.hidden)
            self.down = nn.Linear(shape.hidden, d, bias=False)
            nn.init.zeros_(self.down.weight)  # it begins as the sum

    def start_from(self, events: NDArray[np.float32], candidates: NDArray[np.float32]) -> None:
        """Rows of the first history field and of the items to begin with, (items + 1, <= dim) each.

        Where a row is zero, or has no further columns, what was random stays.
        """
        with torch.no_grad():
            for table, rows in ((self._history[0], events), (self.item, candidates)):
                there = torch.from_numpy(rows.any(axis=1))
                table.weight[there, : rows.shape[1]] = torch.from_numpy(rows)[there]

    def item_vectors(self, items: Tensor | None = None) -> Tensor:
        """(items + 1, dim) without the popularity dimension; of (k,) ``items`` alone, (k, dim)."""
        if items is None:
            return self.item.weight + self.genres @ self.item_genre
        rows: Tensor = self.item(items)
        return rows + self.genres[items] @ self.item_genre

    def history_rows(self) -> Tensor:
        """(fields, items + 1, dim)."""
        tables = zip(self._history, self.history_genre, strict=True)
        return torch.stack([table.weight + self.genres @ genre for table, genre in tables])

    def weights(self, ratings: Tensor, regime: Tensor) -> Tensor:
        """(m, lags) ratings, 0 where padded; (m,) regimes -> (fields, m, lags) weight of each event."""
        lag = self.lag[:, regime, : ratings.shape[1]]  # (fields, m, lags)
        rating_weight = torch.stack([o[regime[:, None], ratings] for o in self.rating_weight])
        return lag * rating_weight * (ratings > 0)

    def forward(self, items: Tensor, ratings: Tensor, profile: Tensor, regime: Tensor) -> Tensor:
        """(m, lags) codes and ratings newest first, (m, profile fields), (m,) -> (m, dim) user vectors."""
        rows = self.history_rows()
        weights = self.weights(ratings, regime)
        sums = [
            nn.functional.embedding_bag(items, field, mode="sum", per_sample_weights=weight)
            for field, weight in zip(rows, self.dropout(weights), strict=True)
        ]
        first: Tensor = self.regime(regime)
        for table, column in zip(self._profile, profile.T, strict=True):
            first = first + table(column)
        sums[0] = first + sums[0]
        user = torch.stack(sums).sum(dim=0)
        if self.shape.hidden:
            user = user + self.down(nn.functional.silu(self.up(torch.cat(sums, dim=1))))
        return user

    def channel(self, name: str, trained: NDArray[np.bool_]) -> HistorySum:
        """The trained tower as tables: they make the same user vectors with numpy. ``trained``: (items + 1,)."""
        with torch.no_grad():
            rating_weight = self.rating_weight.numpy().copy()
            rating_weight[:, :, 0] = 0
            return HistorySum(
                name=name,
                rows=self.history_rows().numpy(),
                lag=self.lag.numpy().copy(),
                rating_weight=rating_weight,
                base=self.regime.weight.numpy().copy(),
                profile=tuple(table.weight.numpy().copy() for table in self._profile),
                items=self.item_vectors().numpy(),
                bias=self.bias.numpy().copy(),
                trained=trained,
                hidden=self._hidden_tables(),
            )

    def _hidden_tables(self) -> tuple[NDArray[np.float32], ...]:
        """As `HistorySum` has them."""
        if not self.shape.hidden:
            return ()
        up = self.up.weight.numpy().T.reshape(self.shape.fields, self.shape.dim, self.shape.hidden)
        return up.copy(), self.up.bias.numpy().copy(), self.down.weight.numpy().T.copy()
