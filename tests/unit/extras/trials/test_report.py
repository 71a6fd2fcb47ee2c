from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from rich.console import Console

from data_exchange_center.steps import StepError
from extras.trials.outcomes import Outcomes
from extras.trials.report import dataset_of, found_by, over_time, show
from extras.trials.state import Experiment
from offline.evaluation.metrics import plain
from tests.unit.extras.trials.test_changes import ARMS, experiment
from tests.unit.online.fakes import FakeUsers
from tests.unit.online.world import DefaultWorld

USERS = 2_000
RANKER: Experiment = experiment(arms=ARMS, metric="hits")


def outcomes(lift: float = 0.0, share: float = 0.5, **more: Any) -> Outcomes:
    rng, n = np.random.default_rng(0), more.pop("n", USERS)
    arms = np.where(rng.random(n) < share, "treatment", "control").astype(np.str_)
    hits = rng.poisson(1.0, n) + rng.poisson(lift, n) * (arms == "treatment")
    values = {"hit": (hits > 0) * 1.0, "hits": hits * 1.0, "gain": hits * 0.5}
    return Outcomes(list(range(n)), arms, values, exposures=n, **more)


def printed(found: dict[str, Any]) -> str:
    said = io.StringIO()
    show(found, Console(file=said, width=200))
    return said.getvalue()


@pytest.mark.parametrize(
    ("lift", "verdict"), [(0.0, "No difference"), (0.4, "treatment is better")]
)
def test_a_difference_is_found_where_there_is_one(lift: float, verdict: str) -> None:
    found = found_by(RANKER, outcomes(lift))
    assert found["warnings"] == []
    assert sum(found["users"].values()) == USERS
    for metric, difference in found["differences"]["treatment"].items():
        means = found["means"][metric]
        estimate = means["treatment"] - means["control"]
        assert difference["estimate"] == pytest.approx(estimate)
        assert difference["low"] < estimate < difference["high"]
    assert verdict in printed(found)


def test_several_arms_share_the_error() -> None:
    two = found_by(RANKER, outcomes(0.4))
    three = experiment(arms=ARMS | {"third": {"release": "c" * 12}}, metric="hits")
    arms = np.append(outcomes().arms, "third")
    values = {name: np.append(each, 0.0) for name, each in outcomes(0.4).values.items()}
    found = found_by(three, Outcomes(list(range(USERS + 1)), arms, values))
    interval = found["differences"]["treatment"]["hits"]
    assert interval["low"] < two["differences"]["treatment"]["hits"]["low"]


def test_an_arm_that_loses_users_is_a_warning() -> None:
    uneven = outcomes(share=0.4)
    found = found_by(RANKER, uneven)
    assert found["sample ratio p"] < 0.01
    assert len(found["warnings"]) == 1
    assert "WARNING" in printed(found)
    counts = {arm: int((uneven.arms == arm).sum()) for arm in ARMS}
    watched = {"treatment": counts["control"] - counts["treatment"]}
    even = found_by(RANKER, outcomes(share=0.4, watched=watched))
    assert (even["warnings"], even["watched"]) == ([], watched["treatment"])


def test_failures_are_warnings() -> None:
    found = found_by(RANKER, outcomes(not_as_dealt=USERS // 10, in_several=3))
    assert len(found["warnings"]) == 2


@pytest.mark.parametrize("n", [0, 20])
def test_few_users_say_nothing_and_can_be_shown_and_drawn(n: int) -> None:
    found = found_by(RANKER, outcomes(n=n))
    text = printed(found)
    assert "100 of each arm are needed" in text
    assert "nan" not in text
    assert "inf" not in text
    over_time(Figure().subplots(), plain(found))


def test_event_meaning_comes_from_a_release_that_can_be_read() -> None:
    def live(name: str) -> Any:
        return FakeUsers(DefaultWorld(release="c" * 12, name=name), live="c" * 12)

    users = live("films")
    users.history.insert(0, "d" * 12)
    users.unreadable.add("d" * 12)
    assert dataset_of(RANKER, users).base_name == "films"
    with pytest.raises(StepError, match="data set films"):
        dataset_of(RANKER, live("books"))
