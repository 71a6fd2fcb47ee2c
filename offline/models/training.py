"""Train networks: the loop, and a ranker's training on recalled lists; `pairs` trains on rated pairs.

The same arguments give the same weights, bit for bit, on one machine: every operation used is deterministic on the CPU
at a fixed number of threads.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR

from data_exchange_center import event_types, steps
from data_exchange_center.dataset import Dataset
from data_exchange_center.features import ModelInputs
from data_exchange_center.recipes import ListsRecipe
from offline.data.lists import Lists, StoredFeatures, prefetch, sampled

# One: batches this small gain little from a second thread, lose much when the machine is busy, and a fixed number means
# the same sums in the same order, hence the same weights, on a machine with more cores.
THREADS = 1
# added to the score of what is left out of the softmax over a list
EXCLUDED = np.float32(-1e4)

Model = TypeVar("Model", bound=nn.Module)
Batch = TypeVar("Batch")


def seeded(seed: int) -> np.random.Generator:
    """Set PyTorch's random state and its number of threads. Returns numpy's generator of the same seed."""
    torch.set_num_threads(THREADS)
    torch.manual_seed(seed)
    return np.random.default_rng(seed)


def train(
    title: str,
    model: nn.Module,
    loss_of: Callable[[Batch], tuple[Tensor, float]],
    batches_of: Callable[[int], Iterator[Batch]],
    optimizer: torch.optim.Optimizer,
    schedule: LRScheduler | None,
    epochs: int,
    batches: int,
) -> Iterator[float]:
    """Train a network, epoch by epoch. Yields the loss of each as it ends.

    Args:
        loss_of: batch -> the sum of its losses, and their number or weight: an epoch's loss is the mean over all.
        batches_of: number of an epoch -> its batches; another thread makes the next one.
        batches: of an epoch.
    """
    with steps.progress(total=epochs * batches, desc=title, unit="batch") as bar:
        for epoch in range(epochs):
            model.train()
            total = counted = 0.0
            for batch in prefetch(batches_of(epoch)):
                loss, count = loss_of(batch)
                optimizer.zero_grad(set_to_none=True)
                torch.autograd.backward(loss / (count or 1))
                optimizer.step()
                if schedule:
                    schedule.step()
                total += loss.item()
                counted += count
                bar.update()
            yield total / (counted or 1)


def curves(losses: Sequence[float], **more: Any) -> dict[str, Any]:
    """Report of a model without AUC: the loss of each epoch, if any, and ``more``."""
    epochs = [
        {"epoch": number, "loss": loss, "auc": {}}
        for number, loss in enumerate(losses, start=1)
    ]
    return {"auc": {}, "epochs": epochs, **more}


def summary(report: Mapping[str, Any]) -> str:
    """``, AUC: train 0.8380, ...`` or ``, loss 5.1 to 4.6``; nothing for a model that was solved, not trained."""
    known = {part: auc for part, auc in report["auc"].items() if auc is not None}
    if known:
        shown = ", ".join(f"{part} {auc:.4f}" for part, auc in known.items())
        return f", AUC: {shown}"
    losses = [epoch["loss"] for epoch in report["epochs"]]
    return f", loss {losses[0]:.4f} to {losses[-1]:.4f}" if losses else ""


def first_rating_weights(
    levels: int, positive_level: int, disliked: Sequence[float], liked: Sequence[float]
) -> Tensor:
    """(levels + 1,) weights of an event by its rating's code, to start from; 0 for padding.

    ``disliked`` and ``liked`` go from the lowest level of each kind to the highest; what lies between is interpolated.
    """
    parts = [np.zeros(1)]
    for n, weights in ((positive_level, disliked), (levels - positive_level, liked)):
        at = np.linspace(0, 1, n) if n > 1 else np.ones(n)
        parts.append(np.interp(at, np.linspace(0, 1, len(weights)), weights))
    return torch.from_numpy(np.concatenate(parts).astype(np.float32))


def first_weights(
    dataset: Dataset, disliked: Sequence[float], liked: Sequence[float]
) -> Tensor:
    """`first_rating_weights` of a data set; with types those of the types, which are the larger ones' square roots."""
    if not dataset.types:
        return first_rating_weights(
            len(dataset.levels), dataset.positive_level, disliked, liked
        )
    weights = event_types.weights(dataset.types)
    shares = weights / np.abs(weights).max()
    return torch.from_numpy(np.sign(shares) * np.sqrt(np.abs(shares)))


def tensors_of(inputs: ModelInputs) -> tuple[Tensor, ...]:
    """A ranking network's arguments: the rows, then the history where it reads one."""
    return tuple(torch.from_numpy(each) for each in inputs.by_name.values())


# --- Lists: softmax over each list, liked candidates against all others except the disliked (Cao et al. 2007, ListNet)

# A sample of m lists, n candidates each: the network's arguments, (m, n) what is added to their scores, (m, n) likes
ListBatch = tuple[tuple[Tensor, ...], Tensor, Tensor]


def train_on_lists(
    build: Callable[[], Model],
    lists: Lists,
    stored: StoredFeatures,
    recipe: ListsRecipe,
    weights: Sequence[float] = (1.0,),
) -> tuple[Model, list[float]]:
    """Train a network with AdamW on lists that all hold something liked. Returns it and each epoch's loss.

    ``build`` makes it, see `offline.models.kinds.Ranker`, and is called with the random state seeded. ``weights``: of
    its outputs' losses; where there are several, likes are those of `lists.by_objective`.
    """
    rng = seeded(recipe.seed)
    model = build()
    rate = recipe.learning_rate
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=rate, weight_decay=recipe.weight_decay, fused=True
    )
    batches = -(-len(lists) // recipe.batch_size)
    schedule = OneCycleLR(optimizer, rate, total_steps=recipe.epochs * batches)

    def batches_of(_: int) -> Iterator[ListBatch]:
        """All lists in random order, their candidates sampled for each batch."""
        for index in np.array_split(rng.permutation(len(lists)), batches):
            sample, log_weights = sampled(lists.take(index), recipe.sampled, rng)
            excluded = sample.disliked | (sample.candidates == 0)
            added = np.where(excluded, EXCLUDED, log_weights)
            inputs = tensors_of(stored.inputs(sample))
            yield inputs, torch.from_numpy(added), torch.from_numpy(sample.liked)

    def loss_of(batch: ListBatch) -> tuple[Tensor, float]:
        return list_loss(model, *batch, weights), 1

    losses = train(
        "ranker",
        model,
        loss_of,
        batches_of,
        optimizer,
        schedule,
        recipe.epochs,
        batches,
    )
    trained = list(losses)
    return model.eval(), trained


def list_loss(
    model: nn.Module,
    inputs: tuple[Tensor, ...],
    added: Tensor,
    liked: Tensor,
    weights: Sequence[float] = (1.0,),
) -> Tensor:
    """Mean cross-entropy of the liked candidates: softmax over each list; of several outputs, the weighted mean.

    ``liked``: (m, n), of several outputs an integer with a bit for each.
    """
    outputs = model(*inputs)  # (m, n, outputs)
    loss = torch.zeros(())
    for n, weight in enumerate(weights):
        of_output = liked if len(weights) == 1 else (liked >> n) & 1
        chosen = of_output > 0
        shares = (outputs[..., n] + added).log_softmax(dim=1)
        mean = -shares[chosen].sum() / (int(chosen.sum()) or 1)
        loss = loss + weight * mean
    return loss / sum(weights)
