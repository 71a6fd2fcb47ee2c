"""Training on lists: softmax over each list, liked candidates against all others except the disliked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from data_exchange_center.progress import progress
from data_exchange_center.rankers.contract import FittedRanker, ListsRecipe
from offline.data.list_samples import sampled
from offline.data.lists import Lists
from offline.data.stored_features import StoredFeatures
from offline.training.click_model import THREADS
from offline.training.examples import ListExamples
from offline.training.fit import curves

EXCLUDED = np.float32(-1e4)  # added to the score of what is left out of the softmax
Network = TypeVar("Network", bound=nn.Module)
Item = TypeVar("Item")


def fit_network(recipe: ListsRecipe, examples: ListExamples) -> FittedRanker:
    """The network that the recipe builds, trained with what was known when the lists were recalled."""
    config = recipe.configure(examples.spec, examples.inputs.dataset, {})
    known = examples.past.earlier(recipe.past)
    stored = StoredFeatures.of(known, examples.inputs, examples.spec, examples.recipe)
    network, losses = train_on_lists(lambda: recipe.build(config), examples.lists, stored, recipe)
    return FittedRanker(network, config, list_report(losses, examples.lists))


def list_report(losses: Sequence[float], lists: Lists) -> dict[str, Any]:
    return {**curves(losses), "lists": len(lists)}


class Batch(NamedTuple):
    """What a step of training is made of: a sample of m lists, n candidates each."""

    rows: Tensor  # (m, n, width)
    offsets: Tensor  # (m, n) of the scores, in the softmax
    liked: Tensor  # (m, n)


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
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True
    )
    batches = -(-len(lists) // recipe.batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.learning_rate, total_steps=recipe.epochs * batches)
    losses = []
    with progress(total=recipe.epochs * batches, desc="ranker", unit="batch") as bar:
        for _ in range(recipe.epochs):
            model.train()
            total = 0.0
            for batch in made_ahead(_epoch(lists, stored, recipe, rng)):
                scores = model(batch.rows)[..., 0] + batch.offsets
                loss = -scores.log_softmax(dim=1)[batch.liked].mean()
                optimizer.zero_grad(set_to_none=True)
                torch.autograd.backward(loss)
                optimizer.step()
                schedule.step()
                total += loss.item()
                bar.update()
            losses.append(total / batches)
            bar.set_postfix(loss=f"{losses[-1]:.4f}", refresh=False)
    return model.eval(), losses


def _epoch(lists: Lists, stored: StoredFeatures, recipe: ListsRecipe, rng: np.random.Generator) -> Iterator[Batch]:
    """All lists in random order, other candidates of them each time."""
    for index in np.array_split(rng.permutation(len(lists)), -(-len(lists) // recipe.batch_size)):
        sample = sampled(lists.take(index), recipe.sampled, rng)
        excluded = sample.lists.disliked | (sample.lists.candidates == 0)
        yield Batch(
            rows=torch.from_numpy(stored.rows(sample.lists)),
            offsets=torch.from_numpy(np.where(excluded, EXCLUDED, sample.log_weights)),
            liked=torch.from_numpy(sample.lists.liked),
        )


def made_ahead(items: Iterator[Item]) -> Iterator[Item]:
    """The same items, the next one made by another thread while one is used."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = pool.submit(next, items, None)
            yield item


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
