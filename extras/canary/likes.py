"""Compare what a canary's users like with as many users of the active release, from the logs of experiments."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from math import inf
from typing import Final

import numpy as np
from numpy.typing import NDArray

from extras.canary.decision import Likes
from extras.canary.state import Canary
from extras.experiments.always_valid import difference_path
from extras.experiments.outcomes import outcomes_of
from extras.experiments.store import ExperimentStore
from online.recommend.releases import Releases

ALPHA: Final = 0.01
METRIC: Final = "hits"  # liked items a user


def likes_of(
    exposures: ExperimentStore, canary: Canary, releases: Releases, horizon_s: float
) -> Likes:
    """The relative difference so far, of users whose horizon is over. Raises ServiceError."""
    if (opened := releases.loaded(canary.active)) is None:
        return Likes()
    experiment, since = canary.experiment(horizon_s), int(canary.began - 60) * 1_000
    found = outcomes_of(
        exposures, experiment, opened.manifest.dataset, time.time(), since
    )
    return relative(
        found.values[METRIC], found.arms == "canary", experiment.planned_users
    )


def relative(
    values: NDArray[np.float64],
    treated: Sequence[bool] | NDArray[np.bool_],
    planned: int,
) -> Likes:
    """The difference of the treated users' mean, and its interval, in shares of the others' mean.

    ``values``: (n,) in the users' order of arrival; ``planned``: after how many it is narrowest.
    """
    is_treated = np.asarray(treated, np.bool_)
    liked = {
        "canary": int(values[is_treated].sum()),
        "active": int(values[~is_treated].sum()),
    }
    known = Likes(users=len(values), **liked)
    if not liked["active"]:
        return known
    path = difference_path(values, is_treated, planned, ALPHA)
    low, high = float(path["low"][-1]), float(path["high"][-1])
    if low == -inf:
        return known
    mean = float(values[~is_treated].mean())
    return replace(
        known,
        estimate=float(path["estimate"][-1]) / mean,
        low=low / mean,
        high=high / mean,
    )
