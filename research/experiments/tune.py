"""Both models with one setting changed at a time, ranked by what they make of the validation rows."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from torch import nn

from data_exchange_center.recipes import SOURCE_DEEPFM, SOURCE_FM, TrainRecipe
from data_exchange_center.settings import Settings
from offline.models.deepfm import DeepFM, DeepFMConfig
from offline.models.fm import FM
from offline.models.training import Data, train_on_pairs
from research.experiments.changes import Change, changed
from research.experiments.rows import deepfm_rows, fm_rows

log = logging.getLogger(__name__)

FM_CHANGES: tuple[Change, ...] = (
    {},
    {"epochs": 8},
    {"epochs": 14},
    {"weight_decay": 3e-6},
    {"weight_decay": 3e-5},
    {"schedule": "one_cycle"},
)
DEEPFM_CHANGES: tuple[Change, ...] = (
    {},
    {"dropout": 0.2},
    {"epochs": 8},
    {"epochs": 12},
    {"weight_decay": 5e-6},
    {"weight_decay": 2e-5},
    {"learning_rate": 0.006},
    {"learning_rate": 0.015},
    {"batch_size": 2048},
    {"hidden": (32,)},
    {"side_dim": 4},
)


def tune(settings: Settings) -> dict[str, Any]:
    """Validation AUC of every change, best first. The test rows are not read."""
    return {
        name: sorted(runs, key=lambda run: -run["validation"])
        for name, runs in (("deepfm", list(_tune_deepfm(settings))), ("fm", list(_tune_fm(settings))))
    }


def _tune_fm(settings: Settings) -> Iterator[dict[str, Any]]:
    data = fm_rows(settings)
    for change in FM_CHANGES:
        recipe = changed(SOURCE_FM, change)
        yield _validated(partial(FM, data.n_users, data.n_items, recipe.dim), data, recipe.train, change, "FM")


def _tune_deepfm(settings: Settings) -> Iterator[dict[str, Any]]:
    data, spec = deepfm_rows(settings)
    for change in DEEPFM_CHANGES:
        recipe = changed(SOURCE_DEEPFM, change)
        config = DeepFMConfig.of(spec, recipe)
        yield _validated(partial(DeepFM, config), data, recipe.train, change, "DeepFM")


def _validated(
    build: Callable[[], nn.Module], data: Data, recipe: TrainRecipe, change: Change, title: str
) -> dict[str, Any]:
    watch = {"validation": data.train.take(data.held_out)}
    _, epochs = train_on_pairs(build, data.train.take(~data.held_out), recipe, watch, f"{title} {change}")
    by_epoch = [round(epoch.auc["validation"], 5) for epoch in epochs]
    log.info("%s %s: validation AUC %.4f", title, change, by_epoch[-1])
    return {"change": change, "validation": by_epoch[-1], "by_epoch": by_epoch}
