"""Training of the tower: softmax over all items a user has not seen, on what the user liked next."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data_exchange_center.channels.tower import TowerRecipe
from data_exchange_center.dataset import Dataset
from data_exchange_center.progress import progress
from data_exchange_center.steps import StepError
from offline.data.requests import Points, histories, next_events, request_points, seen_before
from offline.data.sequences import Ints, Sequences
from offline.models.tower import Tower, TowerShape
from offline.training.click_model import THREADS
from offline.training.next_item_loss import next_item_loss
from offline.training.transitions import transition_factors

START_SCALE = np.float32(0.3)  # of the factors that a tower begins with


def train_tower(
    data: Sequences,
    genres: NDArray[np.float32],
    profiles: NDArray[np.int64],
    cardinalities: Sequence[int],
    dataset: Dataset,
    recipe: TowerRecipe,
    lags: int,
) -> tuple[Tower, list[float]]:
    """A tower fitted on all of ``data``, and each epoch's loss.

    Args:
        genres: (items + 1, genres) 0/1, row 0 empty.
        profiles: (users, fields) codes, 0 unknown.
        cardinalities: of each field, the unknown included.
        dataset: whose levels the ratings have.
        lags: events looked back at.

    Raises StepError when no user has two events: there is no request point.
    """
    torch.set_num_threads(THREADS)
    torch.manual_seed(recipe.seed)
    rng = np.random.default_rng(recipe.seed)
    clicks = np.bincount(data.items[data.liked], minlength=data.n_items + 1).astype(np.float32)
    shape = TowerShape(
        items=data.n_items,
        genres=genres.shape[1],
        profile=tuple(cardinalities),
        levels=len(dataset.levels),
        positive_level=dataset.positive_level,
        dim=recipe.dim,
        history=lags,
        fields=recipe.fields,
        hidden=recipe.hidden,
    )
    model = Tower(shape, genres, clicks, recipe.dropout)
    if recipe.start == "followers":
        factors = transition_factors(data, recipe.horizon, recipe.dim, recipe.seed)
        model.start_from(*(START_SCALE * each for each in factors))
    optimizer = _optimizer(model, recipe)
    batches = -(-len(request_points(data, recipe.stride, np.random.default_rng(recipe.seed))) // recipe.batch_size)
    if not batches:
        raise StepError("no user has rated two items before the held-out ones: there is nothing to train the tower on.")
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, recipe.epochs * batches)
    people = torch.from_numpy(profiles)
    losses = []
    with progress(total=recipe.epochs * batches, desc="tower", unit="batch") as bar:
        for _ in range(recipe.epochs):
            points = request_points(data, recipe.stride, rng)
            total, targets = 0.0, 0
            model.train()
            for index in np.array_split(rng.permutation(len(points)), batches):
                loss, count = _loss(model, data, points.take(index), people, recipe.horizon)
                optimizer.zero_grad(set_to_none=True)
                torch.autograd.backward(loss / max(count, 1))
                optimizer.step()
                schedule.step()
                total, targets = total + loss.item(), targets + count
                bar.update()
            losses.append(total / max(targets, 1))
            bar.set_postfix(loss=f"{losses[-1]:.4f}", refresh=False)
    return model.eval(), losses


def _loss(model: Tower, data: Sequences, points: Points, people: Tensor, horizon: int) -> tuple[Tensor, int]:
    """Cross-entropy summed over the targets, and their number."""
    items, ratings, _, regime = histories(data, points, model.shape.history)
    after, liked = next_events(data, points, horizon)
    users = model(
        torch.from_numpy(items), torch.from_numpy(ratings), people[points.users], torch.from_numpy(regime)
    )  # (m, dim)
    seen = seen_before(data, points)
    targets = np.nonzero(liked)[0], after[liked]
    loss = next_item_loss(users, model.item_vectors(), model.bias, _tensors(seen), _tensors(targets))
    return loss, int(liked.sum())


def _tensors(pairs: tuple[Ints, Ints]) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(pairs[0]), torch.from_numpy(pairs[1])


def _optimizer(model: Tower, recipe: TowerRecipe) -> torch.optim.Optimizer:
    free = [model.lag, model.rating_weight, model.bias]  # must not shrink towards 0
    decayed = [parameter for parameter in model.parameters() if all(parameter is not each for each in free)]
    groups = [
        {"params": decayed, "weight_decay": recipe.weight_decay},
        {"params": free, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, fused=True)
