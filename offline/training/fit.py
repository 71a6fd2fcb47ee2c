"""How models of rated pairs are fitted: once without the validation rows, to validate, then on every training row."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import log_loss

from data_exchange_center.frozen import TrainRecipe
from offline.training.click_model import Data, Epoch, Model, auc, predict, train


@dataclass(frozen=True)
class Fitted(Generic[Model]):
    """A model trained on all training rows, and how good it is."""

    model: Model
    epochs: list[Epoch]  # of the run without the validation rows
    auc: dict[str, float]  # train and test: this model; validation: the run without the validation rows
    calibration: dict[str, Any]  # of this model on the test rows

    def report(self) -> dict[str, Any]:
        """For JSON: nan is null, and nothing depends on the clock."""
        return {
            "auc": {part: _number(value) for part, value in self.auc.items()},
            "epochs": [
                {"epoch": e.epoch, "loss": e.loss, "auc": {k: _number(v) for k, v in e.auc.items()}}
                for e in self.epochs
            ],
            "calibration": self.calibration,
        }


def fit(build: Callable[[], Model], data: Data, recipe: TrainRecipe, title: str) -> Fitted[Model]:
    """Train without the held-out rows and look at them after every epoch; then train on all training rows.

    Nothing is chosen here, on the test rows least of all: epochs and settings are the recipe's.
    """
    watch = {"validation": data.train.take(data.held_out)}
    _, epochs = train(build, data.train.take(~data.held_out), recipe, watch, f"{title}, validation")
    model, _ = train(build, data.train, recipe, {}, f"{title}, all training rows")
    scores = {
        "train": auc(model, data.train),
        "validation": epochs[-1].auc["validation"],
        "test": auc(model, data.test),
    }
    return Fitted(model, epochs, scores, calibration(predict(model, data.test.inputs), data.test.labels.numpy()))


def curves(losses: Sequence[float]) -> dict[str, Any]:
    """The same part of a report for a model without AUC: each epoch's loss, if it has epochs."""
    return {"auc": {}, "epochs": [{"epoch": n, "loss": loss, "auc": {}} for n, loss in enumerate(losses, start=1)]}


def calibration(logits: NDArray[np.float32], labels: NDArray[np.float32], bins: int = 20) -> dict[str, Any]:
    """Predicted against observed click rate, in bins of equally many rows; log loss. Empty without rows."""
    if len(labels) == 0:
        return {}
    probability = 1.0 / (1.0 + np.exp(-logits.astype(np.float64)))
    order = np.argsort(probability, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    return {
        "predicted": [float(probability[part].mean()) for part in parts],
        "observed": [float(labels[part].mean()) for part in parts],
        "rows": [len(part) for part in parts],
        "log_loss": float(log_loss(labels, probability, labels=[0, 1])),
    }


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value
