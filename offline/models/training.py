"""Train networks: the loop, and a ranker's training on recalled lists; `pairs` trains on rated pairs.

The same arguments give the same weights, bit for bit, on one machine: every operation used is deterministic on the CPU
at a fixed number of threads.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from data_exchange_center import recipes, steps
from data_exchange_center.features import ModelInputs
from offline.data.lists import Lists, StoredFeatures, prefetch, sampled
from offline.data.sequences import Ints

# One: batches this small gain little from a second thread, lose much when the machine is busy, and a fixed number means
# the same sums in the same order, hence the same weights, on a machine with more cores.
THREADS = 1
EXCLUDED = np.float32(
    -1e4
)  # added to the score of what is left out of the softmax over a list

Model = TypeVar("Model", bound=nn.Module)
# Number of an epoch -> how many examples it has, and what makes a batch of some: a named tuple of tensors, with the
# ``weight`` of its targets.
Examples = Callable[[int], tuple[int, Callable[[Ints, np.random.Generator], Any]]]


@dataclass(frozen=True, eq=False)
class Run:
    """State of a training run."""

    title: str
    recipe: recipes.TowerRecipe | recipes.ListsRecipe
    model: nn.Module
    loss_of: nn.Module  # batch -> its loss, summed over the targets
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    rng: np.random.Generator  # of order and samples
    batches: int  # of an epoch
    by_target: bool = False  # whether an epoch's loss is the mean over its targets, not over its batches
    losses: list[float] = field(default_factory=list)  # of past epochs


def train(run: Run, examples: Examples) -> list[float]:
    """Run a network's epochs, each over all its examples in random order. Returns the loss of each."""
    with steps.progress(
        total=run.recipe.epochs * run.batches, desc=run.title, unit="batch"
    ) as bar:
        for epoch in range(run.recipe.epochs):
            run.model.train()
            count, batch_of = examples(epoch)
            index = np.array_split(run.rng.permutation(count), run.batches)
            total, divisor = 0.0, 0.0
            for batch in prefetch(batch_of(some, run.rng) for some in index):
                loss: Tensor = run.loss_of(batch)
                mean = loss / (batch.weight or 1)
                run.optimizer.zero_grad(set_to_none=True)
                torch.autograd.backward(mean)
                run.optimizer.step()
                run.schedule.step()
                total += loss.item() if run.by_target else mean.item()
                divisor += batch.weight if run.by_target else 1
                bar.update()
            run.losses.append(total / (divisor or 1))
            bar.set_postfix(loss=f"{run.losses[-1]:.4f}", refresh=False)
    return run.losses


def curves(losses: Sequence[float]) -> dict[str, Any]:
    """Report of a model without AUC: the loss of each epoch, if any."""
    return {
        "auc": {},
        "epochs": [
            {"epoch": n, "loss": loss, "auc": {}}
            for n, loss in enumerate(losses, start=1)
        ],
    }


def summary(report: Mapping[str, Any]) -> str:
    """``, AUC: train 0.8380, ...`` or ``, loss 5.1 to 4.6``; nothing for a model that was solved, not trained."""
    parts = [
        f"{part} {value:.4f}"
        for part, value in report["auc"].items()
        if value is not None
    ]
    if parts:
        return f", AUC: {', '.join(parts)}"
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


def tensors_of(inputs: ModelInputs) -> tuple[Tensor, ...]:
    """A ranking network's arguments: the rows, then the history where it reads one."""
    return tuple(torch.from_numpy(each) for each in inputs.by_name.values())


# --- Lists: softmax over each list, liked candidates against all others except the disliked (Cao et al. 2007, ListNet)


class ListBatch(NamedTuple):
    """A sample of m lists, n candidates each."""

    inputs: tuple[Tensor, ...]  # (m, n, columns) rows, (m, events, channels) histories
    offsets: Tensor  # (m, n) added to the scores in the softmax
    liked: Tensor  # (m, n)

    @property
    def weight(self) -> float:
        """The number of liked candidates."""
        return int(self.liked.sum())


class _ListLoss(nn.Module):
    """Cross-entropy of a batch, summed over the liked candidates."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: ListBatch) -> Tensor:
        inputs, offsets, liked = batch
        scores = self.model(*inputs)[..., 0] + offsets  # (m, n)
        log_shares = scores.log_softmax(dim=1)
        loss: Tensor = -log_shares[liked].sum()
        return loss


def train_on_lists(
    build: Callable[[], Model],
    lists: Lists,
    stored: StoredFeatures,
    recipe: recipes.ListsRecipe,
) -> tuple[Model, list[float]]:
    """Train a network with AdamW on lists that all hold something liked. Returns it and each epoch's loss.

    ``build`` makes it, see `offline.models.kinds.Ranker`, and is called with the random state seeded.
    """
    torch.set_num_threads(THREADS)
    torch.manual_seed(recipe.seed)
    rng = np.random.default_rng(recipe.seed)
    model = build()
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        fused=True,
    )
    batches = -(-len(lists) // recipe.batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.learning_rate, total_steps=recipe.epochs * batches
    )

    def batch_of(index: Ints, rng: np.random.Generator) -> ListBatch:
        """Some lists, their candidates sampled for this batch."""
        sample, log_weights = sampled(lists.take(index), recipe.sampled, rng)
        excluded = sample.disliked | (sample.candidates == 0)
        return ListBatch(
            inputs=tensors_of(stored.inputs(sample)),
            offsets=torch.from_numpy(np.where(excluded, EXCLUDED, log_weights)),
            liked=torch.from_numpy(sample.liked),
        )

    run = Run(
        "ranker", recipe, model, _ListLoss(model), optimizer, schedule, rng, batches
    )
    losses = train(run, lambda _: (len(lists), batch_of))
    return model.eval(), losses
