"""MovieLens as it is published: download it, and compare a run over MovieLens-1M with what is known of it.

Step 0 downloads it where RECSYS_DATA names no other data. `offline.movielens` reads it.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import requests

from data_exchange_center import artifacts, release_parts
from data_exchange_center.columns import Columns
from data_exchange_center.files import written_in_place
from data_exchange_center.recipes import SOURCE, Recipe
from data_exchange_center.steps import StepError, progress
from extras.wheels import digest, download_wheel
from offline.movielens import ML_1M, SETS

log = logging.getLogger(__name__)

GROUPLENS_URL = "https://files.grouplens.org/datasets/movielens/ml-1m.zip"
GROUPLENS_MD5 = "c4d9eecfca2ab87c1945afe126590906"
TIMEOUT_S = (5.0, 20.0)  # to connect, between two reads
WHEEL = "recbole==1.2.0"  # carries MovieLens-100K as its example
WHEEL_SHA256 = "075820e2ea8f182ec4d30c4ec9067d5ac7b07c2f5e3ae1adeb8a5fbee2d4204d"


def fetch(folder: Path) -> tuple[Path, str]:
    """Fetch MovieLens-1M from GroupLens, or MovieLens-100K from PyPI where GroupLens cannot be reached.

    Returns the archive in ``folder`` and where it is from. Raises StepError when neither can be had.
    """
    try:
        return download_ml_1m(folder), GROUPLENS_URL
    except requests.RequestException as error:
        log.warning(
            "GroupLens cannot be reached (%s): taking MovieLens-100K out of %s. To have MovieLens-1M later, name it in "
            "RECSYS_DATA and run this step again.",
            type(error).__name__,
            WHEEL,
        )
        return download_wheel(folder, WHEEL, WHEEL_SHA256), WHEEL


def download_ml_1m(folder: Path) -> Path:
    """Download GroupLens's ml-1m.zip into ``folder``, and check its MD5.

    Raises requests.RequestException when GroupLens cannot be reached, StepError when it sends something else.
    """
    target = folder / "ml-1m.zip"
    if target.is_file() and digest(target, "md5") == GROUPLENS_MD5:
        return target
    with written_in_place(target) as temporary:
        with (
            requests.get(GROUPLENS_URL, stream=True, timeout=TIMEOUT_S) as response,
            temporary.open("wb") as file,
        ):
            response.raise_for_status()
            total = int(response.headers.get("Content-Length", 0)) or None
            with progress(
                total=total, unit="B", unit_scale=True, desc=target.name
            ) as bar:
                for chunk in response.iter_content(1 << 16):
                    bar.update(file.write(chunk))
        if digest(temporary, "md5") != GROUPLENS_MD5:
            raise StepError(
                f"{GROUPLENS_URL} does not send the published file: its MD5 is another. Fetch it another way and name "
                "it in RECSYS_DATA."
            )
    return target


# What a correct run over MovieLens-1M counts, and the published test AUC of the source's models
EXPECTED_COUNTS: Final[Mapping[str, Any]] = {
    "labels": {0: 424_928, 1: 575_281},
    "split": {"train": 754_233, "test": 185_576, "holdout": 60_400},
    "genres": SETS[ML_1M]["genres"],
    "items of genre 2": 283,  # Adventure
}
SOURCE_COLUMNS: Final = 59
SOURCE_AUC: Final[Mapping[str, float]] = {"fm": 0.8081, "deepfm": 0.8206}


def check_run(folder: Path, recipe: Recipe) -> None:
    """Compare the artifacts of `make offline` on MovieLens-1M with what is known of it. Other data is not checked.

    Raises StepError for another count, a loss that does not fall, a test AUC of the recipe source below the published.
    """
    if artifacts.DATASET.read(folder)["name"] != ML_1M:
        return
    ratings = artifacts.RATINGS.read(folder, [Columns.LABEL, Columns.SPLIT])
    counts = {
        "labels": ratings[Columns.LABEL].value_counts().to_dict(),
        "split": ratings[Columns.SPLIT].value_counts().to_dict(),
        "genres": len(artifacts.GENRES.read(folder)[Columns.GENRES]),
        "items of genre 2": sum(
            2 in codes for codes in artifacts.ITEM_TERMS.read(folder)[Columns.GENRES]
        ),
    }
    expected = dict(EXPECTED_COUNTS)
    published: Mapping[str, float] = {}
    if recipe.name == SOURCE.name:
        counts["columns"], expected["columns"] = (
            release_parts.read_feature_spec(folder).width,
            SOURCE_COLUMNS,
        )
        published = SOURCE_AUC
    wrong = [
        f"{what}: {n} counted, {expected[what]} expected"
        for what, n in counts.items()
        if n != expected[what]
    ]
    ranker = {recipe.ranker.kind: artifacts.RANK_REPORT.read(folder)}
    for kind, report in (
        artifacts.RECALL_REPORT.read(folder)["channels"] | ranker
    ).items():
        losses = [epoch["loss"] for epoch in report["epochs"]]
        if len(losses) > 1 and not losses[-1] < losses[0]:
            wrong.append(
                f"{kind}: the loss went from {losses[0]:.4f} to {losses[-1]:.4f}, so nothing was learned"
            )
        auc = report["auc"].get("test")
        if auc is not None and auc < published.get(kind, 0):
            wrong.append(f"{kind}: test AUC {auc:.4f} is below {published[kind]}")
    if wrong:
        raise StepError(
            f"The artifacts are not those of a correct run over MovieLens-1M: {'; '.join(wrong)}."
        )
