"""The list ranker on assembled rows, as it is exported and served."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from offline.models.list_ranker import AGES, ListRanker


class RowRanker(nn.Module):
    """(rows, `FeatureSpec.width`) float32 -> (rows, 1) logits, equal to `ListRanker`'s scores.

    A list shares its user's weighted history. Rows are independent of each other, so the sum is taken in another order:
    first every event's similarities to the row's candidate, from one table of all factors, then the kernels.
    """

    events: Tensor  # (items + 1, d) factors of all similarities beside each other
    candidates: Tensor
    similarity: Tensor  # (similarities, d) 1 where a factor belongs to a similarity
    kernel: Tensor  # (similarities, similarities * kernels) 1 where a kernel belongs to a similarity
    rating_and_age_weight: Tensor  # (rating codes * AGES, similarities * kernels)
    lag: Tensor  # (lags, similarities * kernels)

    def __init__(self, ranker: ListRanker) -> None:
        super().__init__()
        self.ranker = ranker
        config = self.config = ranker.config
        sides = (
            torch.cat([ranker.get_buffer(f"{side}{number}") for number in range(len(config.factors))], dim=1)
            for side in ("events", "candidates")
        )
        n, kernels = len(config.factors), len(config.factors) * config.kernels
        by_rating, age, lag = (
            weight.detach().flatten(0, 1).T for weight in (ranker.rating_weight, ranker.age, ranker.lag)
        )
        tables = {
            "similarity": torch.eye(n).repeat_interleave(torch.tensor(config.factors), dim=1),
            "kernel": torch.eye(n).repeat_interleave(config.kernels, dim=1),
            "rating_and_age_weight": (by_rating[:, None] * age[None]).reshape(-1, kernels),
            "lag": lag.contiguous(),
            **dict(zip(("events", "candidates"), sides, strict=True)),
        }
        for name, table in tables.items():
            self.register_buffer(name, table, persistent=False)

    def forward(self, rows: Tensor) -> Tensor:
        config = self.config
        start, length = config.history_column, config.history
        events = rows[:, start : start + length].long()
        ratings = rows[:, start + length : start + 2 * length].long()
        ages = rows[:, start + 2 * length : start + 3 * length]
        items = rows[:, config.item_column].long()
        crosses = [
            self._cross(number, rows[:, column].long(), items) for number, column in enumerate(config.crossed_columns)
        ]
        return self.ranker.score(
            self._affinities(events, ratings, ages, items),
            self.ranker.summary(events, ratings, ages),
            rows[:, config.feature_columns[0] : config.feature_columns[1]],
            crosses,
        )

    def _affinities(self, events: Tensor, ratings: Tensor, ages: Tensor, items: Tensor) -> Tensor:
        """(rows, lags) x 3, (rows,) -> (rows, similarities * kernels)."""
        candidates = nn.functional.embedding(items, self.candidates)  # (rows, d)
        apart = candidates[:, None] * self.similarity  # (rows, similarities, d)
        similar = torch.matmul(nn.functional.embedding(events, self.events), apart.transpose(1, 2))
        each = torch.matmul(similar, self.kernel)  # (rows, lags, similarities * kernels), as a product: runtimes
        # broadcast along the last dimension slowly
        weights = (
            nn.functional.embedding(ratings * AGES + self.ranker.buckets(ages), self.rating_and_age_weight) * self.lag
        )
        return (weights * each).sum(dim=1)

    def _cross(self, number: int, codes: Tensor, items: Tensor) -> Tensor:
        """(rows,) codes of user field and item -> (rows, 1)."""
        table = self.ranker.get_buffer(f"cross{number}")
        return nn.functional.embedding(codes * table.shape[1] + items, table.reshape(-1, 1))
