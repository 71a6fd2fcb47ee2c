"""Train networks: the `Trainer` and its loop, then the two kinds of examples, rated pairs and recalled lists.

The same arguments give the same weights, bit for bit, on one machine: every operation used is deterministic on the CPU
at a fixed number of threads.

Tower and list ranker train by the `current_trainer`: a single process, or one of the several of
``past_one_machine/workers`` that train one model, on GPUs too. Each takes its share of the data from the trainer, draws
the same batches of all examples as the others, and computes its own part of each batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from data_exchange_center.columns import Columns, Split
from data_exchange_center.recipes import Frozen, ListsRecipe, TowerRecipe, TrainRecipe
from data_exchange_center.steps import progress
from offline.data.lists import Lists, StoredFeatures, prefetch, sampled
from offline.data.sequences import Ints, Sequences
from offline.data.split import validation_mask

# One: batches this small gain little from a second thread, lose much when the machine is busy, and a fixed number means
# the same sums in the same order, hence the same weights, on a machine with more cores.
THREADS = 1
PREDICT_BATCH = 65536
EXCLUDED = np.float32(-1e4)  # added to the score of what is left out of the softmax over a list

Model = TypeVar("Model", bound=nn.Module)


# --- The trainer


@dataclass(frozen=True)
class Share:
    """This process's part of ``total`` numbered examples: from ``begin``, included, to ``end``, excluded."""

    begin: int
    end: int
    total: int

    def of(self, index: Ints) -> Ints:
        """Positions among all -> positions within the share, of those that are in it."""
        return index[self.mask(index)] - self.begin

    def mask(self, index: Ints) -> NDArray[np.bool_]:
        return (index >= self.begin) & (index < self.end)


@dataclass(frozen=True, eq=False)
class Run:
    """State of a training run: what changes by epoch, and so is in a checkpoint. ``losses``: of past epochs."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    rng: np.random.Generator
    losses: list[float] = field(default_factory=list)


class Trainer:
    """Train a network in this process alone, on the CPU, without checkpoints; subclasses train it elsewhere."""

    @property
    def first(self) -> bool:
        """Whether this is, of several processes, the one that reports and writes."""
        return True

    def own_events(self, data: Sequences) -> Sequences:
        """The events of this process's users; all users keep their place."""
        return data

    def own_lists(self, lists: Lists) -> Lists:
        """This process's training lists."""
        return lists

    def numbered(self, own: int) -> Share:
        """The share of a process with ``own`` examples, when those of all processes are numbered in sequence."""
        return Share(0, own, own)

    def sum(self, values: Tensor) -> Tensor:
        """Sum over the processes."""
        return values

    def placed(self, loss: nn.Module) -> nn.Module:
        """Move the loss's module to its device; call this before the optimizer gets the parameters."""
        return loss

    def losses(self, loss_of: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
        """A batch's loss, summed over its targets; and the objective, the mean over the targets of all processes."""
        loss = loss_of(batch)
        return loss, loss / (batch.weight or 1)

    def begin(self, seed: int, epoch: int) -> None:
        """Seed each of several processes for an epoch's dropout. A single process keeps its random state."""

    def resume(self, run: Run, recipe: Frozen, data: Sequence[NDArray[Any]]) -> Callable[[], None]:
        """Restore ``run`` from its last checkpoint, if any. Returns the function that writes one.

        ``recipe`` and ``data``, the arrays that this process reads, tell one run's checkpoints from another's.
        """
        return lambda: None

    def train(
        self,
        run: Run,
        loss_of: nn.Module,
        recipe: TowerRecipe | ListsRecipe,
        batches: int,
        epoch_of: Callable[[int], Iterable[Any]],
        *,
        title: str,
        data: Sequence[NDArray[Any]],
        by_target: bool = False,
    ) -> list[float]:
        """Run the recipe's epochs; returns each one's loss, the mean over its batches or ``by_target``.

        Args:
            loss_of: `placed`; its forward makes a loss of a batch, summed over the batch's targets.
            batches: of an epoch.
            epoch_of: number of the epoch -> its batches, named tuples of tensors with a ``weight``: the targets'.
            data: see `resume`.
        """
        save = self.resume(run, recipe, data)
        with progress(total=recipe.epochs * batches, desc=title, unit="batch", disable=not self.first) as bar:
            for epoch in range(len(run.losses), recipe.epochs):
                self.begin(recipe.seed, epoch)
                run.model.train()
                total = torch.zeros(2, dtype=torch.float64)  # losses, and what they are divided by
                for batch in epoch_of(epoch):
                    loss, mean = self.losses(loss_of, batch)
                    run.optimizer.zero_grad(set_to_none=True)
                    torch.autograd.backward(mean)
                    run.optimizer.step()
                    run.schedule.step()
                    total += torch.tensor([loss.item(), batch.weight] if by_target else [mean.item(), 1.0])
                    bar.update()
                losses, divisor = self.sum(total).tolist()
                run.losses.append(losses / (divisor or 1))
                save()
                bar.set_postfix(loss=f"{run.losses[-1]:.4f}", refresh=False)
        return run.losses


_trainer: ContextVar[Trainer] = ContextVar("trainer", default=Trainer())  # noqa: B039 (it has no state)
current_trainer = _trainer.get  # this process's, or one of several that train together, which `trained_by` has set


@contextmanager
def trained_by(trainer: Trainer) -> Iterator[None]:
    """Use ``trainer`` as the current one inside the block."""
    token = _trainer.set(trainer)
    try:
        yield
    finally:
        _trainer.reset(token)


def curves(losses: Sequence[float]) -> dict[str, Any]:
    """Report of a model without AUC: the loss of each epoch, if any."""
    return {"auc": {}, "epochs": [{"epoch": n, "loss": loss, "auc": {}} for n, loss in enumerate(losses, start=1)]}


def summary(report: Mapping[str, Any]) -> str:
    """``, AUC: train 0.8380, ...`` or ``, loss 5.1 to 4.6``; nothing for a model that was solved, not trained."""
    parts = [f"{part} {value:.4f}" for part, value in report["auc"].items() if value is not None]
    if parts:
        return f", AUC: {', '.join(parts)}"
    losses = [epoch["loss"] for epoch in report["epochs"]]
    return f", loss {losses[0]:.4f} to {losses[-1]:.4f}" if losses else ""


def first_rating_weights(levels: int, positive_level: int, disliked: Sequence[float], liked: Sequence[float]) -> Tensor:
    """(levels + 1,) weights of an event by its rating's code, to start from; 0 for padding.

    ``disliked`` and ``liked`` go from the lowest level of each kind to the highest; what lies between is interpolated.
    """
    parts = [np.zeros(1)]
    for n, weights in ((positive_level, disliked), (levels - positive_level, liked)):
        at = np.linspace(0, 1, n) if n > 1 else np.ones(n)
        parts.append(np.interp(at, np.linspace(0, 1, len(weights)), weights))
    return torch.from_numpy(np.concatenate(parts).astype(np.float32))


# --- Rated pairs: binary cross-entropy


class Rows(NamedTuple):
    """Model inputs and their labels."""

    inputs: Tensor  # (rows, ...)
    labels: Tensor  # (rows,) float32

    def take(self, mask: NDArray[np.bool_]) -> Rows:
        index = torch.from_numpy(np.flatnonzero(mask))
        return Rows(self.inputs[index], self.labels[index])


class PairsData(NamedTuple):
    """Rows to train on, which of them are set aside to choose on (True: validation), and rows to report on."""

    train: Rows
    held_out: NDArray[np.bool_]
    test: Rows


def pairs_data(inputs: NDArray[Any], ratings: pd.DataFrame, validation_share: float) -> PairsData:
    """``inputs`` (rows, width), one for every row of ``ratings`` (userid, label, split)."""
    labels = ratings[Columns.LABEL].to_numpy(np.float32)
    is_train = (ratings[Columns.SPLIT] != Split.TEST).to_numpy()
    train, test = (
        Rows(torch.from_numpy(inputs[mask]), torch.from_numpy(labels[mask])) for mask in (is_train, ~is_train)
    )
    return PairsData(train, validation_mask(ratings.loc[is_train, Columns.USER], validation_share), test)


def fit_on_pairs(
    build: Callable[[], Model], data: PairsData, recipe: TrainRecipe, title: str
) -> tuple[Model, dict[str, Any]]:
    """Train without the held-out rows, which every epoch is evaluated on; then on all training rows.

    Nothing is chosen here: epochs and settings are the recipe's. The report has the first run's epochs, the second's
    AUC and calibration.
    """
    held_out = data.train.take(data.held_out)
    _, epochs = train_on_pairs(build, data.train.take(~data.held_out), recipe, f"{title}, validation", held_out)
    model, _ = train_on_pairs(build, data.train, recipe, f"{title}, all training rows")
    of_parts = {"train": auc(model, data.train), **epochs[-1]["auc"], "test": auc(model, data.test)}
    calibrated = calibration(predict(model, data.test.inputs), data.test.labels.numpy())
    return model, {"auc": of_parts, "epochs": epochs, "calibration": calibrated}


def train_on_pairs(
    build: Callable[[], Model], rows: Rows, recipe: TrainRecipe, title: str, watched: Rows | None = None
) -> tuple[Model, list[dict[str, Any]]]:
    """Train a model on ``rows`` with Adam. Returns it, and each epoch's loss and its AUC on the ``watched`` rows.

    ``build`` makes the model, and is called with the random state seeded; ``title``: of the progress bar.
    """
    torch.set_num_threads(THREADS)
    torch.manual_seed(recipe.seed)
    model = build()
    optimizer = torch.optim.Adam(model.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True)
    batches, schedule = -(-len(rows.labels) // recipe.batch_size), None
    if recipe.schedule == "one_cycle":
        steps = recipe.epochs * batches
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.learning_rate, total_steps=steps)
    shuffle = torch.Generator().manual_seed(recipe.seed)
    epochs: list[dict[str, Any]] = []
    with progress(total=recipe.epochs * batches, desc=title, unit="batch") as bar:
        for epoch in range(1, recipe.epochs + 1):
            model.train()
            losses = 0.0
            for index in torch.split(torch.randperm(len(rows.labels), generator=shuffle), recipe.batch_size):
                logits = model(rows.inputs.index_select(0, index))[:, 0]
                loss = nn.functional.binary_cross_entropy_with_logits(logits, rows.labels.index_select(0, index))
                optimizer.zero_grad(set_to_none=True)
                torch.autograd.backward(loss)
                optimizer.step()
                if schedule:
                    schedule.step()
                losses += loss.item()
                bar.update()
            found = {} if watched is None else {"validation": auc(model, watched)}
            epochs.append({"epoch": epoch, "loss": losses / (batches or 1), "auc": found})
    return model, epochs


def predict(model: nn.Module, inputs: Tensor) -> NDArray[np.float32]:
    """(rows,) logits, in evaluation mode."""
    model.eval()
    with torch.inference_mode():
        logits = torch.cat([model(part)[:, 0] for part in torch.split(inputs, PREDICT_BATCH)])
    return logits.numpy()


def auc(model: nn.Module, rows: Rows) -> float | None:
    """Area under the ROC curve; None where the rows hold only one label."""
    labels = rows.labels.numpy()
    if len(labels) == 0 or labels.min() == labels.max():
        return None
    from sklearn.metrics import roc_auc_score  # half a second to import, for rows of pairs alone

    return float(roc_auc_score(labels, predict(model, rows.inputs)))


def calibration(logits: NDArray[np.float32], labels: NDArray[np.float32], bins: int = 20) -> dict[str, Any]:
    """Predicted against observed click rate, in bins of equally many rows; log loss. Empty without rows."""
    if len(labels) == 0:
        return {}
    from sklearn.metrics import log_loss

    probability = 1.0 / (1.0 + np.exp(-logits.astype(np.float64)))
    order = np.argsort(probability, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    return {
        "predicted": [float(probability[part].mean()) for part in parts],
        "observed": [float(labels[part].mean()) for part in parts],
        "rows": [len(part) for part in parts],
        "log_loss": float(log_loss(labels, probability, labels=[0, 1])),
    }


# --- Lists: softmax over each list, liked candidates against all others except the disliked (Cao et al. 2007, ListNet)


class ListBatch(NamedTuple):
    """A sample of m lists, n candidates each."""

    rows: Tensor  # (m, n, width)
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
        rows, offsets, liked = batch
        scores = self.model(rows)[..., 0] + offsets  # (m, n)
        loss: Tensor = -scores.log_softmax(dim=1)[liked].sum()
        return loss


def train_on_lists(
    build: Callable[[], Model], lists: Lists, stored: StoredFeatures, recipe: ListsRecipe
) -> tuple[Model, list[float]]:
    """Train a network with AdamW on lists that all hold something liked. Returns it and each epoch's loss.

    ``build`` makes it, (m, c, width) rows -> (m, c, 1) scores, and is called with the random state seeded.
    """
    torch.set_num_threads(THREADS)
    torch.manual_seed(recipe.seed)
    rng = np.random.default_rng(recipe.seed)
    model, trainer = build(), current_trainer()
    lists = trainer.own_lists(lists)
    own = trainer.numbered(len(lists))
    loss_of = trainer.placed(_ListLoss(model))
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True
    )
    batches = -(-own.total // recipe.batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.learning_rate, total_steps=recipe.epochs * batches)

    def batches_of(_: int) -> Iterator[ListBatch]:
        """All lists in random order, candidates sampled for each epoch; of each batch, this process's part."""
        for index in np.array_split(rng.permutation(own.total), batches):
            sample, log_weights = sampled(lists.take(own.of(index)), recipe.sampled, rng, own.mask(index))
            excluded = sample.disliked | (sample.candidates == 0)
            yield ListBatch(
                rows=torch.from_numpy(stored.rows(sample)),
                offsets=torch.from_numpy(np.where(excluded, EXCLUDED, log_weights)),
                liked=torch.from_numpy(sample.liked),
            )

    losses = trainer.train(
        Run(model, optimizer, schedule, rng),
        loss_of,
        recipe,
        batches,
        lambda epoch: prefetch(batches_of(epoch)),
        title="ranker",
        data=(lists.candidates, lists.liked, lists.features),
    )
    return model.cpu().eval(), losses


def ranked(model: nn.Module, lists: Lists, stored: StoredFeatures, batch_size: int = 256) -> NDArray[np.int64]:
    """(m, c) candidates in the ranker's order, padding last; ties keep the fused order."""
    model.eval()
    out = []
    with torch.inference_mode():
        for start in range(0, len(lists), batch_size):
            part = lists.take(np.arange(start, min(start + batch_size, len(lists))))
            scores = model(torch.from_numpy(stored.rows(part)))[..., 0].numpy()  # (m, c)
            scores = np.where(part.candidates > 0, scores, -np.inf)
            out.append(np.take_along_axis(part.candidates, np.argsort(-scores, axis=1, kind="stable"), axis=1))
    return np.concatenate(out)
