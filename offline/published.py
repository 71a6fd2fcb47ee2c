"""The published data sets, and the counts and metrics that a correct run over them gives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from data_exchange_center.steps import StepError

ML_1M, ML_100K, OTHER = "ml-1m", "ml-100k", "other"


SETS = {
    ML_1M: {"ratings": 1_000_209, "users": 6_040, "items": 3_883, "genres": 18},
    ML_100K: {"ratings": 100_000, "users": 943, "items": 1_682, "genres": 19},
}
# MovieLens-1M only: counts and AUC that the steps assert
ML_1M_LABELS = {"positive": 575_281, "negative": 424_928}
ML_1M_SPLIT = {"train": 754_233, "test": 185_576, "holdout": 60_400}
ML_1M_ADVENTURE_ITEMS = 283  # genre 2
ML_1M_FEATURES = 59
ML_1M_AUC = {"fm": 0.8081, "deepfm": 0.8206}  # kind of model -> the published test AUC


def name_of(counts: Mapping[str, int]) -> str:
    """Name of the data set with these counts. No checksums: a copy with other line ends is the same data."""
    for name, known in SETS.items():
        if all(counts[what] == known[what] for what in ("ratings", "users", "items")):
            return name
    return OTHER


def expect(dataset: str, what: str, found: object, expected: object) -> None:
    """Raise StepError unless ``found`` is what a correct run over MovieLens-1M counts. Other data is not checked."""
    if dataset == ML_1M and found != expected:
        raise StepError(f"{what}: {found} counted, but MovieLens-1M has {expected}. Run s0_get_data.py again.")


def expect_learned(dataset: str, kind: str, report: Mapping[str, Any]) -> None:
    """Raise StepError when a model trained on MovieLens-1M has learned too little: by its loss, by its test AUC."""
    if dataset != ML_1M:
        return
    auc, least = report["auc"].get("test"), ML_1M_AUC.get(kind)
    if auc is not None and least is not None and auc < least:
        raise StepError(
            f"{kind}: test AUC {auc:.4f} is below the {least} of MovieLens-1M; the recipe is not good enough."
        )
    losses = [epoch["loss"] for epoch in report["epochs"]]
    if losses and not losses[-1] < losses[0]:
        raise StepError(f"{kind}: the loss went from {losses[0]:.4f} to {losses[-1]:.4f}; the model learned nothing.")


def summary(report: Mapping[str, Any]) -> str:
    """``, AUC: train 0.8380, ...`` or ``, loss 5.1 to 4.6``; nothing for a model that was solved, not trained."""
    parts = [f"{part} {value:.4f}" for part, value in report["auc"].items() if value is not None]
    if parts:
        return f", AUC: {', '.join(parts)}"
    losses = [epoch["loss"] for epoch in report["epochs"]]
    return f", loss {losses[0]:.4f} to {losses[-1]:.4f}" if losses else ""
