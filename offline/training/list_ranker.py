"""Training on lists: softmax over each list, liked candidates against all others except the disliked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from data_exchange_center.progress import progress
from data_exchange_center.rankers.contract import FittedRanker, ListsRecipe
from offline.data.lists import Lists
from offline.data.stored_features import StoredFeatures
from offline.training.click_model import THREADS
from offline.training.examples import ListExamples
from offline.training.fit import curves

EXCLUDED = -1e4
Network = TypeVar("Network", bound=nn.Module)


def fit_network(recipe: ListsRecipe, examples: ListExamples) -> FittedRanker:
    """The network that the recipe builds, trained with what was known when the lists were recalled."""
    config = recipe.configure(examples.spec, examples.inputs.dataset, {})
    known = examples.past.earlier(recipe.past)
    stored = StoredFeatures.of(known, examples.inputs, examples.spec, examples.recipe)
    network, losses = train_on_lists(lambda: recipe.build(config), examples.lists, stored, recipe)
    return FittedRanker(network, config, list_report(losses, examples.lists))


def list_report(losses: Sequence[float], lists: Lists) -> dict[str, Any]:
    return {**curves(losses), "lists": len(lists)}


def train_on_lists(
    build: Callable[[], Network], lists: Lists, stored: StoredFeatures, recipe: ListsRecipe
) -> tuple[Network, list[float]]:
    """A network fitted on the lists, which all hold something liked, and each epoch's loss.

    ``build``: makes it, (m, c, width) rows -> (m, c, 1) scores; called with the random state seeded.
    """
    torch.set_num_threads(THREADS)
    torch.manual_seed(recipe.seed)
    rng = np.random.default_rng(recipe.seed)
    model = build()
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    batches = -(-len(lists) // recipe.batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.learning_rate, total_steps=recipe.epochs * batches)
    losses = []
    with progress(total=recipe.epochs * batches, desc="ranker", unit="batch") as bar:
        for _ in range(recipe.epochs):
            model.train()
            total = 0.0
            for index in np.array_split(rng.permutation(len(lists)), batches):
                batch = lists.take(index)
                excluded = torch.from_numpy(batch.disliked | (batch.candidates == 0))
                scores = list_scores(model, batch, stored).masked_fill(excluded, EXCLUDED)
                liked = torch.from_numpy(batch.liked)
                loss = -scores.log_softmax(dim=1)[liked].mean()
                optimizer.zero_grad(set_to_none=True)
                torch.autograd.backward(loss)
                optimizer.step()
                schedule.step()
                total += loss.item()
                bar.update()
            losses.append(total / batches)
            bar.set_postfix(loss=f"{losses[-1]:.4f}", refresh=False)
    return model.eval(), losses


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
