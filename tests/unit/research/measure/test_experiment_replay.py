from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from data_exchange_center.dataset import Dataset
from data_exchange_center.steps import CheckError
from extras.experiments.always_valid import ALPHA
from extras.experiments.outcomes import Outcomes, joined
from online.experiments.dealing import arm_of
from online.experiments.declaration import Experiment
from research.measure.experiment_replay import PLANNED, _outcomes, check, redealt
from tests.datasets import STARS
from tests.unit.extras.experiments.test_outcomes import experiment, shown

USERS, TIMES = 1_000, 100


def outcomes(gain: Any) -> Outcomes:
    return Outcomes(list(range(1, USERS + 1)), np.full(USERS, "control"), {"gain": np.asarray(gain, np.float64)})


class Log:
    """One that has three users' exposures, of a second ago."""

    def outcomes(self, experiment: Experiment, dataset: Dataset, now: float) -> Outcomes:
        just_now = int(time.time()) - 1
        return joined(experiment, [shown(user, just_now, [7]) for user in (1, 2, 3)], lambda _: {}, dataset, now)


def test_nobody_is_waited_for_until_the_horizon_is_over() -> None:
    assert len(_outcomes(Log(), experiment(), SimpleNamespace(dataset=STARS), 3).userids) == 3  # type: ignore[arg-type]


def test_users_who_are_dealt_anew_find_nothing_more_often_than_alpha() -> None:
    found = redealt(experiment(), outcomes(np.random.default_rng(0).gamma(0.5, 1.0, USERS)), TIMES)
    assert found["experiments"] == TIMES
    assert found["ever excluding 0"] <= TIMES * (ALPHA + 3 * (ALPHA * (1 - ALPHA) / TIMES) ** 0.5)


def test_everybody_is_dealt_anew_each_time() -> None:
    """Values that only depend on the arms of one dealing are found in that one alone."""
    first = experiment().model_copy(update={"name": "ranker-0"})
    values = [float(arm_of(first, userid) == "treatment") + 0.01 * userid % 1 for userid in range(1, USERS + 1)]
    assert redealt(experiment(), outcomes(values), 1)["ever excluding 0"] == 1
    assert redealt(experiment(), outcomes(values), 20)["ever excluding 0"] <= 4


def figures(**of: tuple[float, float]) -> dict[str, Any]:
    """What a sound run finds, but for the intervals ``of`` experiments."""
    experiments: dict[str, Any] = {}
    for title, planned in PLANNED.items():
        low, high = of.get(planned.name.replace("-", "_"), (-0.1, 0.1) if planned.is_even else (0.1, 0.2))
        interval = {"estimate": (low + high) / 2, "low": low, "high": high}
        about = {"metric": "gain"}
        experiments[title] = (
            {"experiment": about, "differences": {"treatment": {"gain": interval}}, "sample ratio p": 0.5}
            if planned.kind == "split"
            else {"experiment": about, "preference": interval}
        )
    return {"experiments": experiments, "redealt": {"experiments": 500, "ever excluding 0": 20}}


def test_a_sound_run_passes() -> None:
    check(figures())


@pytest.mark.parametrize(
    ("of", "message"),
    [
        ({"replay_aa": (0.1, 0.2)}, "A/A, split: a difference is found where there is none"),
        ({"replay_aa_interleaved": (-0.2, -0.1)}, "A/A, interleaved: a difference is found"),
        ({"replay_ab": (-0.1, 0.2)}, "A/B, split: the default recipe is not found to be better"),
        ({"replay_ab_interleaved": (float("-inf"), float("inf"))}, "A/B, interleaved: the default recipe is not"),
    ],
)
def test_what_is_not_as_it_must_be_fails(of: dict[str, tuple[float, float]], message: str) -> None:
    with pytest.raises(CheckError, match=message):
        check(figures(**of))


def test_arms_that_lose_users_and_intervals_that_are_wrong_too_often_fail() -> None:
    found = figures()
    found["experiments"]["A/A, split"]["sample ratio p"] = 0.001
    with pytest.raises(CheckError, match="do not fit their weights"):
        check(found)
    found = figures()
    found["redealt"]["ever excluding 0"] = 60
    with pytest.raises(CheckError, match="Of 500 A/A experiments, 60"):
        check(found)
