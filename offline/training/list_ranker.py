"""Training on lists: softmax over each list, liked candidates against all others except the disliked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from data_exchange_center.progress import progress
from data_exchange_center.rankers.contract import FittedRanker, ListsRecipe
from offline.data.lists import Lists, StoredFeatures, made_ahead, sampled
from offline.training.click_model import THREADS
from offline.training.distributed import workers
from offline.training.distributed.checkpoint import Checkpoint, Training
from offline.training.distributed.workers import Share, on_device
from offline.training.examples import ListExamples
from offline.training.fit import curves

EXCLUDED = np.float32(-1e4)  # added to the score of what is left out of the softmax
Network = TypeVar("Network", bound=nn.Module)


def fit_network(recipe: ListsRecipe, examples: ListExamples) -> FittedRanker:
    """The network that the recipe builds, trained with what was known when the lists were recalled."""
    config = recipe.configure(examples.spec, examples.inputs.dataset, {})
    known = examples.past.earlier(recipe.past)
    stored = StoredFeatures.of(known, examples.inputs, examples.spec, examples.recipe)
    network, losses = train_on_lists(lambda: recipe.build(config), examples.lists, stored, recipe)
    return FittedRanker(network, config, list_report(losses, examples.lists))


def list_report(losses: Sequence[float], lists: Lists) -> dict[str, Any]:
    """``lists``: of this worker; all of them are counted."""
    return {**curves(losses), "lists": workers.current().numbered(len(lists)).total}


class Batch(NamedTuple):
    """What a step of training is made of: a sample of m lists, n candidates each."""

    rows: Tensor  # (m, n, width)
    offsets: Tensor  # (m, n) of the scores, in the softmax
    liked: Tensor  # (m, n)


def train_on_lists(
    build: Callable[[], Network], lists: Lists, stored: StoredFeatures, recipe: ListsRecipe
) -> tuple[Network, list[float]]:
    """A network fitted on the lists of all workers, and each epoch's loss.

    ``lists``: of this worker; all hold something liked. ``build``: makes the network, (m, c, width) rows -> (m, c, 1)
    scores; called with the random state seeded.
    """
    torch.set_num_threads(THREADS)
    torch.manual_seed(recipe.seed)
    rng = np.random.default_rng(recipe.seed)
    model = build()
    all_workers = workers.current()
    own = all_workers.numbered(len(lists))
    loss_of = all_workers.parallel(_Loss(model))
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True
    )
    batches = -(-own.total // recipe.batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.learning_rate, total_steps=recipe.epochs * batches)
    losses: list[float] = []
    training = Training(model, optimizer, schedule, rng, losses)
    checkpoint = Checkpoint(all_workers, training, recipe, lists.candidates, lists.liked, lists.features)
    with progress(total=recipe.epochs * batches, desc="ranker", unit="batch", disable=not all_workers.first) as bar:
        for epoch in range(len(losses), recipe.epochs):
            all_workers.seed(recipe.seed, epoch)
            model.train()
            total = torch.zeros(1, dtype=torch.float64)
            for batch in made_ahead(_epoch(lists, own, stored, recipe, rng)):
                with all_workers.precision():
                    loss = all_workers.mean(loss_of(batch), int(batch.liked.sum()))
                optimizer.zero_grad(set_to_none=True)
                torch.autograd.backward(loss)
                optimizer.step()
                schedule.step()
                total += loss.item()
                bar.update()
            losses.append(all_workers.sum(total).item() / all_workers.world / batches)
            checkpoint.save()
            bar.set_postfix(loss=f"{losses[-1]:.4f}", refresh=False)
    return model.cpu().eval(), losses


class _Loss(nn.Module):
    """Cross-entropy of a batch, summed over what was liked."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Batch) -> Tensor:
        rows, offsets, liked = on_device(batch, next(self.parameters()).device)
        scores = self.model(rows)[..., 0] + offsets
        loss: Tensor = -scores.log_softmax(dim=1)[liked].sum()
        return loss


def _epoch(
    lists: Lists, own: Share, stored: StoredFeatures, recipe: ListsRecipe, rng: np.random.Generator
) -> Iterator[Batch]:
    """All lists in random order, other candidates of them each time; of each batch, those in this worker's ``lists``,
    which are its ``own`` share."""
    for index in np.array_split(rng.permutation(own.total), -(-own.total // recipe.batch_size)):
        sample = sampled(lists.take(own.of(index)), recipe.sampled, rng, own.mask(index))
        excluded = sample.lists.disliked | (sample.lists.candidates == 0)
        yield Batch(
            rows=torch.from_numpy(stored.rows(sample.lists)),
            offsets=torch.from_numpy(np.where(excluded, EXCLUDED, sample.log_weights)),
            liked=torch.from_numpy(sample.lists.liked),
        )


def list_scores(model: nn.Module, lists: Lists, stored: StoredFeatures) -> Tensor:
    """(m, c) scores."""
    scores: Tensor = model(torch.from_numpy(stored.rows(lists)))[..., 0]
    return scores


def ranked(model: nn.Module, lists: Lists, stored: StoredFeatures, batch_size: int = 256) -> NDArray[np.int64]:
    """(m, c) candidates in the ranker's order, padding last; ties keep the fused order."""
    model.eval()
    out = []
    with torch.inference_mode():
        for start in range(0, len(lists), batch_size):
            part = lists.take(np.arange(start, min(start + batch_size, len(lists))))
            scores = np.where(part.candidates > 0, list_scores(model, part, stored).numpy(), -np.inf)
            out.append(np.take_along_axis(part.candidates, np.argsort(-scores, axis=1, kind="stable"), axis=1))
    return np.concatenate(out)
