"""Train on rated pairs: binary cross-entropy, with a part of each user's training rows set aside for validation."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from data_exchange_center import columns, recipes
from offline.data.sequences import Bools
from offline.data.split import validation_mask
from offline.models.training import Model, seeded, train

PREDICT_BATCH = 65536


class Rows(NamedTuple):
    """Model inputs and their labels."""

    inputs: Tensor  # (rows, ...)
    labels: Tensor  # (rows,) float32

    def take(self, mask: Bools) -> "Rows":
        index = torch.from_numpy(np.flatnonzero(mask))
        return Rows(self.inputs[index], self.labels[index])


class PairsData(NamedTuple):
    """Rows to train on, which of them are set aside to choose on (True: validation), and rows to report on."""

    train: Rows
    held_out: Bools
    test: Rows


def pairs_data(
    inputs: NDArray[Any], ratings: pd.DataFrame, validation_share: float
) -> PairsData:
    """``inputs`` (rows, width), one for every row of ``ratings`` (userid, label, split)."""
    labels = ratings[columns.Columns.LABEL].to_numpy(np.float32)
    is_train = (ratings[columns.Columns.SPLIT] != columns.Split.TEST).to_numpy()
    train, test = (
        Rows(torch.from_numpy(inputs[mask]), torch.from_numpy(labels[mask]))
        for mask in (is_train, ~is_train)
    )
    return PairsData(
        train,
        validation_mask(ratings.loc[is_train, columns.Columns.USER], validation_share),
        test,
    )


def fit_on_pairs(
    build: Callable[[], Model], data: PairsData, recipe: recipes.TrainRecipe, title: str
) -> tuple[Model, dict[str, Any]]:
    """Train without the held-out rows, which every epoch is evaluated on; then on all training rows.

    Nothing is chosen here: epochs and settings are the recipe's. The report has the first run's epochs, the second's
    AUC and calibration.
    """
    held_out = data.train.take(data.held_out)
    _, epochs = train_on_pairs(
        build, data.train.take(~data.held_out), recipe, f"{title}, validation", held_out
    )
    model, _ = train_on_pairs(build, data.train, recipe, f"{title}, all training rows")
    of_parts = {
        "train": auc(model, data.train),
        **epochs[-1]["auc"],
        "test": auc(model, data.test),
    }
    calibrated = calibration(predict(model, data.test.inputs), data.test.labels.numpy())
    return model, {"auc": of_parts, "epochs": epochs, "calibration": calibrated}


def train_on_pairs(
    build: Callable[[], Model],
    rows: Rows,
    recipe: recipes.TrainRecipe,
    title: str,
    watched: Rows | None = None,
) -> tuple[Model, list[dict[str, Any]]]:
    """Train a model on ``rows`` with Adam. Returns it, and each epoch's loss and its AUC on the ``watched`` rows.

    ``build`` makes the model, and is called with the random state seeded; ``title``: of the progress bar.
    """
    seeded(recipe.seed)
    model = build()
    optimizer = torch.optim.Adam(
        model.parameters(),
        recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        fused=True,
    )
    batches = -(-len(rows.labels) // recipe.batch_size)
    schedule = None
    if recipe.schedule == "one_cycle":
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, recipe.learning_rate, total_steps=recipe.epochs * batches
        )
    shuffle = torch.Generator().manual_seed(recipe.seed)

    def batches_of(_: int) -> Iterator[Rows]:
        """All rows in random order."""
        order = torch.randperm(len(rows.labels), generator=shuffle)
        for index in torch.split(order, recipe.batch_size):
            yield Rows(rows.inputs[index], rows.labels[index])

    def loss_of(batch: Rows) -> tuple[Tensor, float]:
        logits = model(batch.inputs)[:, 0]
        mean = nn.functional.binary_cross_entropy_with_logits(logits, batch.labels)
        return mean, 1

    losses = train(
        title, model, loss_of, batches_of, optimizer, schedule, recipe.epochs, batches
    )
    epochs: list[dict[str, Any]] = []
    for epoch, loss in enumerate(losses, start=1):
        found = {} if watched is None else {"validation": auc(model, watched)}
        epochs.append({"epoch": epoch, "loss": loss, "auc": found})
    return model, epochs


def predict(model: nn.Module, inputs: Tensor) -> NDArray[np.float32]:
    """(rows,) logits, in evaluation mode."""
    model.eval()
    with torch.inference_mode():
        logits = torch.cat(
            [model(part)[:, 0] for part in torch.split(inputs, PREDICT_BATCH)]
        )
    return logits.numpy()


def auc(model: nn.Module, rows: Rows) -> float | None:
    """Area under the ROC curve; None where the rows hold only one label."""
    labels = rows.labels.numpy()
    if len(labels) == 0 or labels.min() == labels.max():
        return None
    from sklearn.metrics import (
        roc_auc_score,
    )  # half a second to import, for rows of pairs alone

    return float(roc_auc_score(labels, predict(model, rows.inputs)))


def calibration(
    logits: NDArray[np.float32], labels: NDArray[np.float32], bins: int = 20
) -> dict[str, Any]:
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
