"""Paired difference of two evaluated releases: ``make evaluate against=<recipe or release>``.

An evaluation keeps every user's metrics of the served order, so a release can be compared with one that is gone. Both
must have been judged on the same held-out events, at the same times.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from data_exchange_center.files import written_in_place
from data_exchange_center.steps import StepError
from offline.evaluation.metrics import HEADLINES, Floats, compare
from offline.evaluation.replay import Holdout

_RECIPE, _HOLDOUT = ".recipe", ".holdout"  # next to the metrics, whose names have no dot


def keep(folder: Path, release: str, recipe: str, holdout: Holdout, values: dict[str, Floats]) -> None:
    """Write (users,) values of each metric, by name, for later comparisons."""
    about: dict[str, Any] = {_RECIPE: np.array(recipe), _HOLDOUT: np.array(digest(holdout))}
    with written_in_place(_path(folder, release)) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **(about | values))


def against(folder: Path, other: str, release: str, holdout: Holdout, values: dict[str, Floats]) -> dict[str, Any]:
    """Compare each headline of ``release`` with those of another one, user by user.

    Args:
        other: a release, or a recipe: then its release that was evaluated last.

    Raises StepError when that was not evaluated, or on other held-out events.
    """
    path = find(folder, other, release)
    with np.load(path) as found:
        if str(found[_HOLDOUT]) != digest(holdout):
            raise StepError(
                f"{other} was evaluated on other held-out events than release {release}: the data, or the events of "
                "servers in it, have changed. Train and evaluate it again on these, then this one."
            )
        before = {name: found[name] for name in HEADLINES if name in found and name in values}
        recipe = str(found[_RECIPE])
    metrics = {
        name: compare(values[name], earlier) | {"before": float(np.nanmean(earlier))}
        for name, earlier in before.items()
    }
    return {"release": path.stem, "recipe": recipe, "metrics": metrics}


def find(folder: Path, other: str, release: str) -> Path:
    """The kept metrics of a release, or of a recipe's release that was evaluated last. Raises StepError."""
    if (path := _path(folder, other)).is_file():
        return path
    evaluated = sorted(_path(folder, "*").parent.glob("*.npz"), key=lambda each: each.stat().st_mtime, reverse=True)
    recipes = {path: str(np.load(path)[_RECIPE]) for path in evaluated if path.stem != release}
    for path, recipe in recipes.items():
        if recipe == other:
            return path
    known = ", ".join(f"{path.stem} ({recipe})" for path, recipe in recipes.items()) or "none"
    raise StepError(
        f"neither a release nor a recipe {other!r} was evaluated here before (evaluated: {known})",
        f"Run RECSYS_RECIPE={other} make offline evaluate-offline, then the same with the recipe to compare.",
    )


def digest(holdout: Holdout) -> str:
    """Digest of the held-out targets and the times of the requests."""
    targets = holdout.relevance.tocsr()
    parts = (holdout.past.user_numbers, holdout.past.item_numbers, targets.indptr, targets.indices, holdout.times)
    return hashlib.sha256(b"".join(np.ascontiguousarray(part, dtype=np.int64).tobytes() for part in parts)).hexdigest()


def _path(folder: Path, release: str) -> Path:
    return folder / "users" / f"{release}.npz"
