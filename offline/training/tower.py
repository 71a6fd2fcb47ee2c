"""Training of the tower: softmax over the items a user has not seen, all or a sample, on what the user liked next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from data_exchange_center.channels.tower import TowerRecipe
from data_exchange_center.dataset import Dataset
from data_exchange_center.progress import progress
from data_exchange_center.steps import StepError
from offline.data.requests import Points, histories, next_events, request_points, seen_before
from offline.data.sequences import Ints, Sequences
from offline.models.tower import Tower, TowerShape
from offline.training.click_model import THREADS
from offline.training.distributed import workers
from offline.training.distributed.checkpoint import Checkpoint, Training
from offline.training.distributed.workers import on_device
from offline.training.next_item_loss import next_item_loss
from offline.training.sampled_loss import chances, drawn, sampled_item_loss, within
from offline.training.transitions import transition_factors

Float32 = NDArray[np.float32]

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
    """A tower fitted on all of ``data``, and each epoch's loss; by all workers, each of which has its users' events.

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
    all_workers = workers.current()
    everything, data = data, all_workers.own_events(data)
    own_clicks = torch.from_numpy(np.bincount(data.items[data.liked], minlength=data.n_items + 1))
    clicks = all_workers.sum(own_clicks).numpy().astype(np.float32)
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
    chance = chances(clicks, recipe.sampled_items) if data.n_items > recipe.sampled_beyond else None
    if recipe.start == "followers" and all_workers.first:  # it has all events, and the others begin as it does
        factors = transition_factors(everything.followers(recipe.horizon), recipe.dim, recipe.seed)
        model.start_from(*(START_SCALE * each for each in factors))
    loss_of = all_workers.parallel(_Loss(model, torch.from_numpy(profiles), chance))
    optimizer = _optimizer(model, recipe)
    points = request_points(data, recipe.stride, np.random.default_rng(recipe.seed))
    batches = -(-all_workers.numbered(len(points)).total // recipe.batch_size)
    if not batches:
        raise StepError("no user has rated two items before the held-out ones: there is nothing to train the tower on.")
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, recipe.epochs * batches)
    losses: list[float] = []
    training = Training(model, optimizer, schedule, rng, losses)
    checkpoint = Checkpoint(all_workers, training, recipe, data.starts, data.items, data.ratings, data.times)
    with progress(total=recipe.epochs * batches, desc="tower", unit="batch", disable=not all_workers.first) as bar:
        for epoch in range(len(losses), recipe.epochs):
            all_workers.seed(recipe.seed, epoch)
            points = request_points(data, recipe.stride, rng)
            own = all_workers.numbered(len(points))
            for_samples = np.random.default_rng([recipe.seed, epoch])  # all workers draw the same
            total = torch.zeros(2, dtype=torch.float64)  # loss and weight of this worker's targets
            model.train()
            for index in np.array_split(rng.permutation(own.total), batches):
                sample = None if chance is None else drawn(chance, for_samples)
                batch = _batch(data, points.take(own.of(index)), lags, recipe, sample)
                with all_workers.precision():
                    loss, weight = loss_of(batch), float(batch.weights[batch.targets[0]].sum())
                optimizer.zero_grad(set_to_none=True)
                torch.autograd.backward(all_workers.mean(loss, weight))
                optimizer.step()
                schedule.step()
                total += torch.tensor([loss.item(), weight])
                bar.update()
            loss_sum, weights = all_workers.sum(total).tolist()
            losses.append(loss_sum / (weights or 1))
            checkpoint.save()
            bar.set_postfix(loss=f"{losses[-1]:.4f}", refresh=False)
    return model.cpu().eval(), losses


class _Batch(NamedTuple):
    """m requests."""

    users: Tensor  # (m,)
    items: Tensor  # (m, lags)
    ratings: Tensor  # (m, lags)
    regime: Tensor  # (m,)
    left_out: tuple[Tensor, Tensor]  # of the softmax: (row, item), or (row, position in the sample)
    targets: tuple[Tensor, Tensor]  # (row, item) of what was liked next
    weights: Tensor  # (m,) of each target of a request
    sample: tuple[Tensor, ...]  # (k,) items that the softmax is over; none: over all


class _Loss(nn.Module):
    """Weighted cross-entropy of a batch, summed over the targets."""

    people: Tensor
    correction: Tensor  # (items + 1,) logarithm of each item's chance to be in a sample

    def __init__(self, model: Tower, people: Tensor, chance: NDArray[np.float64] | None) -> None:
        """``people``: (users, fields) codes; ``chance``: (items + 1,), where the softmax is over samples."""
        super().__init__()
        self.model = model
        self.register_buffer("people", people, persistent=False)
        correction = np.zeros(0) if chance is None else np.log(chance)
        self.register_buffer("correction", torch.from_numpy(correction.astype(np.float32)), persistent=False)

    def forward(self, batch: _Batch) -> Tensor:
        users, items, ratings, regime, left_out, targets, weights, sample = on_device(batch, self.people.device)
        model = self.model
        vectors = model(items, ratings, self.people[users], regime)  # (m, dim)
        if not sample:
            return next_item_loss(vectors, model.item_vectors(), model.bias, left_out, targets, weights)
        (drawn_items,), (rows, liked) = sample, targets
        of_target = (vectors[rows].float() * model.item_vectors(liked)).sum(dim=1) + model.bias[liked]
        bias = model.bias[drawn_items] - self.correction[drawn_items]
        return sampled_item_loss(vectors, model.item_vectors(drawn_items), bias, left_out, (rows, of_target), weights)


def _batch(data: Sequences, points: Points, lags: int, recipe: TowerRecipe, sample: Ints | None) -> _Batch:
    items, ratings, _, regime = histories(data, points, lags)
    after, liked = next_events(data, points, recipe.horizon)
    targets, seen = (np.nonzero(liked)[0], after[liked]), seen_before(data, points)
    if sample is None:
        left_out = seen
    else:
        both = np.concatenate([seen, targets], axis=1)
        left_out = within(sample, (both[0], both[1]))
    return _Batch(
        users=torch.from_numpy(points.users),
        items=torch.from_numpy(items),
        ratings=torch.from_numpy(ratings),
        regime=torch.from_numpy(regime),
        left_out=_tensors(left_out),
        targets=_tensors(targets),
        weights=torch.from_numpy(target_weights(data.lengths[points.users], liked.sum(axis=1), recipe)),
        sample=() if sample is None else (torch.from_numpy(sample),),
    )


def target_weights(events: Ints, targets: Ints, recipe: TowerRecipe) -> Float32:
    """(m,) events of each request's user, (m,) targets of each request -> (m,) what each of these targets weighs."""
    of_user = events**-recipe.user_balance
    weights: Float32 = (of_user * np.maximum(targets, 1) ** -recipe.request_balance).astype(np.float32)
    return weights


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
