from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rich.console import Console

from extras.experiments.outcomes import Outcomes
from extras.experiments.pictures import over_time, replayed
from extras.experiments.report import found_by, show, verdict
from offline.evaluation.report import plain
from tests.unit.extras.experiments.test_outcomes import OTHER, RELEASE, experiment

USERS = 2_000


def outcomes(lift: float, share: float = 0.5, n: int = USERS, **more: Any) -> Outcomes:
    rng = np.random.default_rng(0)
    arms = np.where(rng.random(n) < share, "treatment", "control").astype(np.str_)
    hits = rng.poisson(1.0, n) + rng.poisson(lift, n) * (arms == "treatment")
    values = {"hit": (hits > 0) * 1.0, "hits": hits * 1.0, "gain": hits * 0.5, "preference": np.zeros(n)}
    return Outcomes(list(range(n)), arms, values, exposures=n, **more)


def preferences(mean: float) -> Outcomes:
    rng = np.random.default_rng(0)
    values: NDArray[np.float64] = rng.choice([-1.0, 0.0, 1.0], USERS, p=[0.3 - mean / 2, 0.4, 0.3 + mean / 2])
    nothing = np.zeros(USERS)
    of_metrics = {"hit": nothing, "hits": nothing, "gain": nothing, "preference": values}
    return Outcomes(list(range(USERS)), np.full(USERS, ""), of_metrics, exposures=USERS)


def printed(found: dict[str, Any]) -> str:
    said = io.StringIO()
    show(found, Console(file=said, width=200))
    return said.getvalue()


@pytest.mark.parametrize(("lift", "said"), [(0.0, "No difference is found so far."), (0.4, "treatment is better.")])
def test_a_difference_is_found_where_there_is_one(lift: float, said: str) -> None:
    found = found_by(experiment(), outcomes(lift))
    assert found["warnings"] == []
    for metric, difference in found["differences"]["treatment"].items():
        means = found["means"][metric]
        assert difference["estimate"] == pytest.approx(means["treatment"] - means["control"])
        assert difference["low"] < difference["estimate"] < difference["high"]
    assert said in printed(found)
    assert sum(found["users"].values()) == USERS


@pytest.mark.parametrize(
    ("mean", "said"), [(0.0, "No difference is found so far."), (0.2, "treatment is better."), (-0.2, "is worse.")]
)
def test_a_preference_is_found_where_there_is_one(mean: float, said: str) -> None:
    found = found_by(experiment("interleaved"), preferences(mean))
    assert found["wins"]["control"] + found["wins"]["treatment"] + found["wins"]["neither"] == USERS
    assert (found["wins"]["treatment"] > found["wins"]["control"]) == (mean > 0 or found["preference"]["estimate"] > 0)
    assert said in printed(found)


def test_an_arm_that_loses_users_is_told_loudly() -> None:
    found = found_by(experiment(), outcomes(0.0, share=0.4))
    assert "which does not fit their weights" in found["warnings"][0]
    assert "WARNING" in printed(found)


def test_those_who_are_still_watched_count_in_the_arms_sizes() -> None:
    uneven = outcomes(0.0, share=0.4)
    counts = {arm: int((uneven.arms == arm).sum()) for arm in ("control", "treatment")}
    watched = {"treatment": counts["control"] - counts["treatment"]}
    found = found_by(experiment(), outcomes(0.0, share=0.4, watched=watched))
    assert found["warnings"] == []
    assert found["watched"] == watched["treatment"]


def test_what_went_wrong_is_told() -> None:
    found = found_by(experiment(), outcomes(0.0, not_as_dealt=USERS // 10, in_several=3))
    assert "were not as dealt" in found["warnings"][0]
    assert "3 users were in several arms" in found["warnings"][1]


@pytest.mark.parametrize("n", [0, 20])
@pytest.mark.parametrize("kind", ["split", "interleaved"])
def test_few_users_say_nothing_and_can_be_shown_and_drawn(n: int, kind: str) -> None:
    few = outcomes(0.0, n=n)
    found = found_by(experiment(kind), few if kind == "split" else replace(few, arms=np.full(n, "")))
    assert f"Too few users yet: {'100 of each arm' if kind == 'split' else '200 in all'} are needed" in printed(found)
    over_time(Figure().subplots(), plain(found))


def test_the_path_is_drawn_from_the_first_interval_on() -> None:
    axes = Figure().subplots()
    over_time(axes, plain(found_by(experiment(), outcomes(0.4))))
    (line,) = (each for each in axes.lines if "treatment against control" in str(each.get_label()))
    users = np.asarray(line.get_xdata())
    assert 200 <= users[0] < 400
    assert users[-1] == USERS


def test_each_replayed_experiment_has_a_panel() -> None:
    split, interleaved = found_by(experiment(), outcomes(0.4)), found_by(experiment("interleaved"), preferences(0.2))
    figure = replayed(plain({"experiments": {"one": split, "two": interleaved, "three": split, "four": interleaved}}))
    assert ["difference in gain" in axes.get_title() for axes in figure.axes] == [True, False, True, False]


def test_verdicts() -> None:
    assert verdict("new", {"low": float("-inf"), "high": float("inf")}).startswith("Too few users")
    assert verdict("new", {"low": 0.1, "high": 0.2}) == "new is better."
    assert verdict("new", {"low": -0.2, "high": -0.1}) == "new is worse."
    assert {RELEASE, OTHER} == {arm.release for arm in experiment().arms.values()}
