"""One way to train a click model: tensors in memory, index slices, binary cross-entropy, Adam."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from data_exchange_center.frozen import TrainRecipe
from data_exchange_center.progress import progress

# One: batches this small gain little from a second thread, lose much when the machine is busy, and a fixed number means
# the same sums in the same order, hence the same weights, on a machine with more cores.
THREADS = 1
PREDICT_BATCH = 65536

Model = TypeVar("Model", bound=nn.Module)


class Rows(NamedTuple):
    """Model inputs and their labels."""

    inputs: Tensor  # (rows, ...)
    labels: Tensor  # (rows,) float32

    def take(self, mask: NDArray[np.bool_]) -> Rows:
        index = torch.from_numpy(np.flatnonzero(mask))
        return Rows(self.inputs[index], self.labels[index])


@dataclass(frozen=True)
class Data:
    """Rows to train on, rows to report on, and which of the former are set aside to choose on."""

    train: Rows
    held_out: NDArray[np.bool_]  # of the training rows: True for validation
    test: Rows


class Epoch(NamedTuple):
    """What one epoch did."""

    epoch: int  # from 1
    loss: float  # mean over the epoch's batches
    auc: dict[str, float]  # of every watched part


def train(
    build: Callable[[], Model], rows: Rows, recipe: TrainRecipe, watch: dict[str, Rows], title: str
) -> tuple[Model, list[Epoch]]:
    """Build a model and train it on ``rows``; after every epoch its AUC on each part of ``watch`` is taken.

    The same arguments give the same weights, bit for bit, on one machine: every operation used is deterministic on the
    CPU at a fixed number of threads.

    Args:
        build: makes the model; called with the random state seeded.
        rows: training rows.
        recipe: epochs, batch size, optimizer and seed.
        watch: name -> rows the model is looked at on, never trained on (unless they are its training rows).
        title: label of the progress bar.
    """
    torch.set_num_threads(THREADS)
    torch.manual_seed(recipe.seed)
    model = build()
    optimizer = torch.optim.Adam(model.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True)
    batches = -(-len(rows.labels) // recipe.batch_size)
    schedule = _schedule(optimizer, recipe, batches)
    shuffle = torch.Generator().manual_seed(recipe.seed)
    history: list[Epoch] = []
    with progress(total=recipe.epochs * batches, desc=title, unit="batch") as bar:
        for epoch in range(1, recipe.epochs + 1):
            loss = 0.0
            model.train()
            for index in torch.split(torch.randperm(len(rows.labels), generator=shuffle), recipe.batch_size):
                batch_loss = nn.functional.binary_cross_entropy_with_logits(
                    model(rows.inputs.index_select(0, index))[:, 0], rows.labels.index_select(0, index)
                )
                optimizer.zero_grad(set_to_none=True)
                torch.autograd.backward(batch_loss)
                optimizer.step()
                schedule.step()
                loss += batch_loss.item()
                bar.update()
            history.append(Epoch(epoch, loss / batches, {name: auc(model, part) for name, part in watch.items()}))
            bar.set_postfix(
                {"loss": f"{loss / batches:.4f}", **{k: f"{v:.4f}" for k, v in history[-1].auc.items()}}, refresh=False
            )
    return model, history


def _schedule(
    optimizer: torch.optim.Optimizer, recipe: TrainRecipe, batches: int
) -> torch.optim.lr_scheduler.LRScheduler:
    if recipe.schedule == "constant":
        return torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)
    return torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.learning_rate, total_steps=recipe.epochs * batches)


def predict(model: nn.Module, inputs: Tensor) -> NDArray[np.float32]:
    """(rows,) logits, in evaluation mode."""
    model.eval()
    with torch.inference_mode():
        logits: NDArray[np.float32] = torch.cat(
            [model(part)[:, 0] for part in torch.split(inputs, PREDICT_BATCH)]
        ).numpy()
    return logits


def auc(model: nn.Module, rows: Rows) -> float:
    """Area under the ROC curve; nan where the rows hold only one label."""
    labels = rows.labels.numpy()
    if len(labels) == 0 or labels.min() == labels.max():
        return float("nan")
    return float(roc_auc_score(labels, predict(model, rows.inputs)))
