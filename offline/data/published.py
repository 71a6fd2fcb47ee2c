"""What is known of the published data sets, and what a right run over them counts."""

from __future__ import annotations

from dataclasses import dataclass

from data_exchange_center.steps import StepError

ML_1M, ML_100K, OTHER = "ml-1m", "ml-100k", "other"


@dataclass(frozen=True)
class Published:
    """Counts of a data set, and what the project's published run made of it."""

    ratings: int
    users: int
    items: int
    genres: int


SETS = {
    ML_1M: Published(ratings=1_000_209, users=6_040, items=3_883, genres=18),
    ML_100K: Published(ratings=100_000, users=943, items=1_682, genres=19),
}
# MovieLens-1M only: counts and AUC that the steps assert
ML_1M_LABELS = {"positive": 575_281, "negative": 424_928}
ML_1M_SPLIT = {"train": 754_233, "test": 185_576, "online": 60_400}
ML_1M_ADVENTURE_ITEMS = 283  # genre 2
ML_1M_FEATURES = 59
ML_1M_FM_AUC = 0.8081
ML_1M_DEEPFM_AUC = 0.8206


def name_of(ratings: int, users: int, items: int) -> str:
    """Which data set has these counts. Counts and not checksums: a copy with other line ends is the same data."""
    for name, known in SETS.items():
        if (ratings, users, items) == (known.ratings, known.users, known.items):
            return name
    return OTHER


def expect(dataset: str, what: str, found: object, expected: object) -> None:
    """Raise StepError unless ``found`` equals what a right run over MovieLens-1M counts. Other data: nothing known."""
    if dataset == ML_1M and found != expected:
        raise StepError(f"{what}: {found} counted, but MovieLens-1M has {expected}. Run s0_get_data.py again.")


def expect_auc(dataset: str, model: str, auc: float, least: float) -> None:
    """Raise StepError when a model trained on MovieLens-1M falls below the published test AUC."""
    if dataset == ML_1M and auc < least:
        raise StepError(
            f"{model}: test AUC {auc:.4f} is below the {least} of MovieLens-1M; the recipe is not good enough."
        )
