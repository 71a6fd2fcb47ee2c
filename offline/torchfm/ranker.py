"""Ranker for the list that recall made: affinities of each candidate to the user's last events, and a small MLP.

An affinity is a sum over the history of (weight of the event) x (item-item similarity of event and candidate). The
similarities are inner products of fixed item factors; the weights (by lag, opinion and age) are learned: target
attention (Zhou et al. 2018, DIN) in closed form. Trained on the softmax over a list (Cao et al. 2007, ListNet), so
only differences between a user's candidates count.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from data_exchange_center.channels import OPINIONS

AGE_EDGES_S = (60.0, 600.0, 3600.0, 86400.0, 30 * 86400.0)
SUMMARIES = 4  # of a history: length, share liked, mean rating, age of the newest event


@dataclass(frozen=True)
class Knowledge:
    """What is fixed in the ranker: fitted on the past, swapped for a newer fit without retraining.

    Attributes:
        factors: a pair a similarity: (items + 1, d) of events, (items + 1, d) of candidates; row 0 is zero.
        crosses: per user field name, (codes, items + 1) log-odds of an item among users with that code.
    """

    factors: tuple[tuple[NDArray[np.float32], NDArray[np.float32]], ...]
    crosses: dict[str, NDArray[np.float32]]


@dataclass(frozen=True)
class RankerShape:
    """Sizes of the ranker."""

    history: int = 30
    kernels: int = 4  # learned weightings of the history, a similarity
    hidden: tuple[int, ...] = (64, 32)
    dropout: float = 0.1


class ListRanker(nn.Module):
    """History, candidates and their features -> one score a candidate."""

    edges: Tensor

    def __init__(self, knowledge: Knowledge, features: int, shape: RankerShape) -> None:
        """``features``: width of what is given beside history, candidates and crossed fields."""
        super().__init__()
        self.similarities = len(knowledge.factors)
        self.crossed = tuple(knowledge.crosses)
        for name, table in _tables(knowledge).items():
            self.register_buffer(name, torch.from_numpy(table))
        self.register_buffer("edges", torch.tensor(AGE_EDGES_S))
        n, k = self.similarities, shape.kernels
        lag = torch.arange(1, shape.history + 1).float()
        self.lag = nn.Parameter((lag ** torch.linspace(-2.0, 0.0, k)[:, None]).repeat(n, 1, 1))  # (n, kernels, lags)
        self.opinion = nn.Parameter(torch.tensor([0.0, 0.5, 0.5, 0.7, 1.0, 1.0]).repeat(n, k, 1))
        self.age = nn.Parameter(torch.ones(n, k, len(AGE_EDGES_S) + 1))
        assert self.opinion.shape[2] == OPINIONS  # noqa: S101
        width = n * k + len(self.crossed) + SUMMARIES + features
        self.norm = nn.BatchNorm1d(width, momentum=0.02)
        layers: list[nn.Module] = []
        for inputs, outputs in itertools.pairwise((width, *shape.hidden)):
            layers += [nn.Linear(inputs, outputs), nn.SiLU(), nn.Dropout(shape.dropout)]
        self.mlp = nn.Sequential(*layers, nn.Linear(shape.hidden[-1], 1))
        self.skip = nn.Linear(width, 1, bias=False)
        nn.init.zeros_(self.skip.weight)

    def renew(self, knowledge: Knowledge) -> None:
        """Put a newer fit of the same knowledge in place. Raises RuntimeError when shapes differ."""
        with torch.no_grad():
            for name, table in _tables(knowledge).items():
                self.get_buffer(name).copy_(torch.from_numpy(table))

    def affinities(self, events: Tensor, ratings: Tensor, ages: Tensor, candidates: Tensor) -> Tensor:
        """(m, lags) each, (m, c) -> (m, c, similarities * kernels)."""
        bucket = torch.bucketize(ages, self.edges)
        out = []
        for number in range(self.similarities):
            weights = self.lag[number][:, None] * self.opinion[number][:, ratings] * self.age[number][:, bucket]
            rows = nn.functional.embedding(events, self.get_buffer(f"events{number}"))  # (m, lags, d); padding is 0
            user = torch.matmul(weights.transpose(0, 1), rows)  # (m, kernels, d)
            items = nn.functional.embedding(candidates, self.get_buffer(f"candidates{number}"))  # (m, c, d)
            out.append(torch.matmul(items, user.transpose(1, 2)))  # (m, c, kernels)
        return torch.cat(out, dim=2)

    def forward(
        self, events: Tensor, ratings: Tensor, ages: Tensor, candidates: Tensor, fields: Tensor, features: Tensor
    ) -> Tensor:
        """(m, lags) x 3, (m, c) codes, (m, crossed fields) codes, (m, c, features) -> (m, c) scores."""
        crosses = [
            self.get_buffer(f"cross_{name}")[fields[:, number, None], candidates]
            for number, name in enumerate(self.crossed)
        ]
        summary = _summary(events, ratings, ages)[:, None].expand(-1, candidates.shape[1], -1)
        parts = [self.affinities(events, ratings, ages, candidates), summary, features]
        inputs = torch.cat([*parts, *(cross.unsqueeze(2) for cross in crosses)], dim=2)
        hidden = self.norm(inputs.flatten(0, 1))  # (m * c, width)
        scores: Tensor = self.mlp(hidden) + self.skip(hidden)
        return scores.view(candidates.shape)


def _tables(knowledge: Knowledge) -> dict[str, NDArray[np.float32]]:
    tables = {f"cross_{name}": table for name, table in knowledge.crosses.items()}
    for number, (events, candidates) in enumerate(knowledge.factors):
        tables |= {f"events{number}": events, f"candidates{number}": candidates}
    return {name: np.array(table, dtype=np.float32) for name, table in tables.items()}


def _summary(events: Tensor, ratings: Tensor, ages: Tensor) -> Tensor:
    """(m, lags) x 3 -> (m, SUMMARIES)."""
    there = (events > 0).float()
    count = there.sum(dim=1)
    some = count.clamp(min=1)
    liked = (ratings > 3).float().sum(dim=1) / some
    mean = ratings.float().sum(dim=1) / some
    return torch.stack([torch.log1p(count), liked, mean, torch.log1p(ages[:, 0].clamp(min=0)) / 10], dim=1)
