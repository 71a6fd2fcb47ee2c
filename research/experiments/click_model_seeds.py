"""The spread of both models over seeds."""

from __future__ import annotations

import statistics
from functools import partial
from typing import Any

from data_exchange_center.recipes import SOURCE_DEEPFM, SOURCE_FM
from data_exchange_center.settings import Settings
from offline.models.deepfm import DeepFM, DeepFMConfig
from offline.models.fm import FM
from offline.models.training import fit_on_pairs
from research.experiments.changes import changed
from research.experiments.rows import deepfm_rows, fm_rows

SEEDS = (0, 1, 2)
PARTS = ("train", "validation", "test")


def seeds(settings: Settings) -> dict[str, Any]:
    """Train, validation and test AUC of the source's models with each of `SEEDS`, and their spread."""
    pairs, (rows, spec) = fm_rows(settings), deepfm_rows(settings)
    config = DeepFMConfig.of(spec, SOURCE_DEEPFM)
    runs: dict[str, list[dict[str, float]]] = {"fm": [], "deepfm": []}
    for seed in SEEDS:
        fm, deepfm = changed(SOURCE_FM, {"seed": seed}), changed(SOURCE_DEEPFM, {"seed": seed})
        small = fit_on_pairs(partial(FM, pairs.n_users, pairs.n_items, fm.dim), pairs, fm.train, f"FM, seed {seed}")
        large = fit_on_pairs(partial(DeepFM, config), rows, deepfm.train, f"DeepFM, seed {seed}")
        runs["fm"].append(small.auc)
        runs["deepfm"].append(large.auc)
    return {name: {part: _spread([scores[part] for scores in found]) for part in PARTS} for name, found in runs.items()}


def _spread(values: list[float]) -> dict[str, Any]:
    return {
        "mean": round(statistics.mean(values), 5),
        "min": round(min(values), 5),
        "max": round(max(values), 5),
        "by_seed": [round(value, 5) for value in values],
    }
