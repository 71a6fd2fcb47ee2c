"""The comparisons behind the recipe: settings on the validation part of the training rows, and the spread over seeds.

``python -m offline.experiments tune`` trains both models with one setting changed at a time, without the validation
rows, and ranks what comes out on them; the test rows are not read. ``python -m offline.experiments seeds`` fits the
recipe's models with three seeds. Both write what they find below ``pic/figures``.
"""

from __future__ import annotations

import argparse
import logging
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data_exchange_center import artifacts
from data_exchange_center.artifacts import ArtifactError
from data_exchange_center.machine import machine
from data_exchange_center.recipes import DeepFMRecipe, FMRecipe, Recipe
from data_exchange_center.settings import Settings, load_settings
from data_exchange_center.steps import StepError
from offline.data import training
from offline.torchfm.fit import Fitted, fit
from offline.torchfm.models import FM, DeepFM, DeepFMConfig
from offline.torchfm.train import Data, train

log = logging.getLogger(__name__)

FIGURES = Path(__file__).resolve().parents[1] / "pic" / "figures"
SEEDS = (0, 1, 2)

# One change at a time, against the recipe.
FM_CHANGES: tuple[dict[str, Any], ...] = (
    {},
    {"epochs": 8},
    {"epochs": 14},
    {"weight_decay": 3e-6},
    {"weight_decay": 3e-5},
    {"schedule": "one_cycle"},
)
DEEPFM_CHANGES: tuple[dict[str, Any], ...] = (
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


def changed(recipe: FMRecipe | DeepFMRecipe, change: dict[str, Any]) -> Any:
    """``recipe`` with other values, of the model or of its training."""
    of_training = {key: value for key, value in change.items() if key in type(recipe.train).model_fields}
    of_model = {key: value for key, value in change.items() if key not in of_training}
    return recipe.model_copy(update={**of_model, "train": recipe.train.model_copy(update=of_training)})


def tune(settings: Settings) -> dict[str, Any]:
    """Validation AUC of every change, best first. The test rows are not read."""
    return {
        name: sorted(runs, key=lambda run: -run["validation"])
        for name, runs in (("deepfm", list(_tune_deepfm(settings))), ("fm", list(_tune_fm(settings))))
    }


def _tune_fm(settings: Settings) -> Iterator[dict[str, Any]]:
    data = training.fm_data(settings)
    for change in FM_CHANGES:
        recipe: FMRecipe = changed(settings.recipe.fm, change)
        yield _validated(lambda r=recipe: FM(data.n_users, data.n_items, r.dim), data, recipe, change, "FM")


def _tune_deepfm(settings: Settings) -> Iterator[dict[str, Any]]:
    data, spec = training.ranker_data(settings)
    for change in DEEPFM_CHANGES:
        recipe: DeepFMRecipe = changed(settings.recipe.deepfm, change)
        config = DeepFMConfig.of(spec, recipe)
        yield _validated(lambda c=config: DeepFM(c), data, recipe, change, "DeepFM")


def _validated(build: Any, data: Data, recipe: Any, change: dict[str, Any], title: str) -> dict[str, Any]:
    watch = {"validation": data.train.take(data.held_out)}
    _, epochs = train(build, data.train.take(~data.held_out), recipe.train, watch, f"{title} {change}")
    by_epoch = [round(epoch.auc["validation"], 5) for epoch in epochs]
    log.info("%s %s: validation AUC %.4f", title, change, by_epoch[-1])
    return {"change": change, "validation": by_epoch[-1], "by_epoch": by_epoch}


def seeds(settings: Settings) -> dict[str, Any]:
    """Train, validation and test AUC of the recipe's models with each of `SEEDS`, and their spread."""
    fm, (rank, spec) = training.fm_data(settings), training.ranker_data(settings)
    recipe: Recipe = settings.recipe
    config = DeepFMConfig.of(spec, recipe.deepfm)
    runs: dict[str, list[dict[str, float]]] = {"fm": [], "deepfm": []}
    for seed in SEEDS:
        seeded = {"seed": seed}
        fitted: Fitted[Any] = fit(
            lambda: FM(fm.n_users, fm.n_items, recipe.fm.dim),
            fm,
            recipe.fm.train.model_copy(update=seeded),
            f"FM, seed {seed}",
        )
        runs["fm"].append(fitted.auc)
        fitted = fit(
            lambda: DeepFM(config), rank, recipe.deepfm.train.model_copy(update=seeded), f"DeepFM, seed {seed}"
        )
        runs["deepfm"].append(fitted.auc)
    return {
        name: {
            part: {
                "mean": round(statistics.mean(values), 5),
                "min": round(min(values), 5),
                "max": round(max(values), 5),
                "by_seed": [round(value, 5) for value in values],
            }
            for part in ("train", "validation", "test")
            for values in [[scores[part] for scores in found]]
        }
        for name, found in runs.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("tune", "seeds"))
    what: str = parser.parse_args().what
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    settings = load_settings()
    try:
        found = {
            "command": f"make {what}",
            "machine": machine(),
            "dataset": artifacts.DATASET.read(settings.exchange_dir)["name"],
            **(tune(settings) if what == "tune" else seeds(settings)),
        }
    except (ArtifactError, StepError) as error:
        parser.exit(1, f"{error}\n")
    name = {"tune": "offline_tuning.json", "seeds": "offline_seeds.json"}[what]
    artifacts.write_json(FIGURES / name, found)
    log.info("written: %s", FIGURES / name)


if __name__ == "__main__":
    main()
