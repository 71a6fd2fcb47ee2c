"""Training of the tower: softmax over all items a user has not seen, on what the user liked next."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from offline.data.requests import Points, histories, next_events, request_points, seen_before
from offline.data.sequences import Sequences
from offline.torchfm.tower import Tower, TowerShape
from offline.torchfm.train import THREADS

EXCLUDED = -1e4  # logit of an item that does not compete


@dataclass(frozen=True)
class TowerTraining:
    """Chosen on the ten before the last ten."""

    dim: int = 64
    fields: int = 2
    history: int = 100
    dropout: float = 0.2
    epochs: int = 5
    batch_size: int = 512  # request points
    learning_rate: float = 5e-3
    weight_decay: float = 0.01
    stride: int = 10  # events between request points
    horizon: int = 10  # events after a request whose liked items are its targets
    seed: int = 0


def train_tower(
    data: Sequences, genres: NDArray[np.float32], profiles: NDArray[np.int64], config: TowerTraining
) -> tuple[Tower, list[float]]:
    """A tower fitted on all of ``data``, and each epoch's loss.

    Args:
        genres: (items + 1, genres) 0/1, row 0 empty.
        profiles: (users, fields) codes from 0.
    """
    torch.set_num_threads(THREADS)
    torch.manual_seed(config.seed)
    rng = np.random.default_rng(config.seed)
    clicks = np.bincount(data.items[data.liked], minlength=data.n_items + 1).astype(np.float32)
    cardinality = tuple(int(column.max()) + 1 for column in profiles.T)
    shape = TowerShape(data.n_items, genres.shape[1], cardinality, config.dim, config.history, config.fields)
    model = Tower(shape, genres, clicks, config.dropout)
    optimizer = _optimizer(model, config)
    batches = -(-len(request_points(data, config.stride, np.random.default_rng(config.seed))) // config.batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.epochs * batches)
    people = torch.from_numpy(profiles)
    losses = []
    with tqdm(total=config.epochs * batches, desc="tower", unit="batch", mininterval=1) as bar:
        for _ in range(config.epochs):
            points = request_points(data, config.stride, rng)
            total, targets = 0.0, 0
            model.train()
            for index in np.array_split(rng.permutation(len(points)), batches):
                loss, count = _loss(model, data, points.take(index), people, config)
                optimizer.zero_grad(set_to_none=True)
                torch.autograd.backward(loss / max(count, 1))
                optimizer.step()
                schedule.step()
                total, targets = total + loss.item(), targets + count
                bar.update()
            losses.append(total / targets)
            bar.set_postfix(loss=f"{losses[-1]:.4f}")
    return model.eval(), losses


def _loss(model: Tower, data: Sequences, points: Points, people: Tensor, config: TowerTraining) -> tuple[Tensor, int]:
    """Cross-entropy summed over the targets, and their number."""
    items, ratings, _, regime = histories(data, points, config.history)
    after, liked = next_events(data, points, config.horizon)
    users = model(
        torch.from_numpy(items), torch.from_numpy(ratings), people[points.users], torch.from_numpy(regime)
    )  # (m, dim)
    logits = users @ model.item_vectors().T + model.bias  # (m, items + 1)
    excluded = torch.zeros(logits.shape, dtype=torch.bool)
    excluded[:, 0] = True
    rows, seen = seen_before(data, points)
    excluded[torch.from_numpy(rows), torch.from_numpy(seen)] = True
    logits = logits.masked_fill(excluded, EXCLUDED)
    target = torch.from_numpy(np.nonzero(liked)[0])
    chosen = logits[target, torch.from_numpy(after[liked])]
    return (logits.logsumexp(dim=1)[target] - chosen).sum(), len(target)


def _optimizer(model: Tower, config: TowerTraining) -> torch.optim.Optimizer:
    free = {id(parameter) for parameter in (model.lag, model.opinion, model.bias)}  # must not shrink towards 0
    decayed = [parameter for parameter in model.parameters() if id(parameter) not in free]
    groups = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": [model.lag, model.opinion, model.bias], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)
