from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from extras.trials.outcomes import Outcomes
from extras.trials.report import against_control, show
from extras.trials.state import Experiment
from tests.unit.extras.trials.test_changes import ARMS, experiment

USERS = 2_000
RANKER: Experiment = experiment(arms=ARMS)


def outcomes(
    lift: float = 0.0, share: float = 0.5, n: int = USERS, **more: Any
) -> Outcomes:
    rng = np.random.default_rng(0)
    arms = np.where(rng.random(n) < share, "treatment", "control").astype(np.str_)
    likes = rng.poisson(1.0, n) + rng.poisson(lift, n) * (arms == "treatment")
    return Outcomes(arms, likes * 1.0, **more)


def printed(found: Outcomes) -> str:
    said = io.StringIO()
    show(RANKER, found, Console(file=said, width=200))
    return said.getvalue()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, ["control", "treatment"]),
        ({"lift": 0.4}, ["+0.4"]),
        ({"n": 0}, ["100 of each arm are needed", "nan"]),
        ({"n": 20}, ["100 of each arm are needed"]),
    ],
)
def test_a_difference_is_found_where_there_is_one(
    given: dict[str, Any], words: list[str]
) -> None:
    text = printed(outcomes(**given))
    assert all(each in text for each in words), text
    assert "WARNING" not in text
    assert "inf" not in text


def test_several_arms_share_the_error() -> None:
    three = experiment(arms=ARMS | {"third": {"release": "c" * 12}})
    found, wider = (
        against_control(each, outcomes(0.4), "treatment") for each in (RANKER, three)
    )
    assert wider.low < found.low < found.estimate == wider.estimate


def test_an_arm_that_loses_users_is_a_warning() -> None:
    uneven = outcomes(share=0.4)
    assert "users of an arm are being lost" in printed(uneven)
    counts = {arm: int((uneven.arms == arm).sum()) for arm in ARMS}
    watched = {"treatment": counts["control"] - counts["treatment"]}
    assert "WARNING" not in printed(outcomes(share=0.4, watched=watched))
