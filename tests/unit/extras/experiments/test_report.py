from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rich.console import Console

from data_exchange_center.dataset import OwnId
from data_exchange_center.events import Event
from data_exchange_center.steps import StepError
from extras.experiments.declaration import Arm, Experiment
from extras.experiments.outcomes import Outcomes, joined
from extras.experiments.report import dataset_of, found_by, over_time, show
from extras.experiments.store import Exposure
from offline.evaluation.metrics import plain
from tests.datasets import STARS
from tests.unit.online.fakes import FakeUsers
from tests.unit.online.world import DefaultWorld

RELEASE, OTHER = "aaaaaaaaaaaa", "bbbbbbbbbbbb"
HOUR, LONG_AFTER = 3_600, 10**9


def experiment(kind: str = "split") -> Experiment:
    arms = {"control": Arm(release=RELEASE), "treatment": Arm(release=OTHER)}
    fields: dict[str, Any] = {
        "name": "ranker",
        "kind": kind,
        "arms": arms,
        "horizon_s": HOUR,
        "started": 0,
    }
    return Experiment.model_validate(
        {**fields, "dataset": "films", "buckets": ((0, 10_000),)}
    )


def shown(
    userid: OwnId, at: int, items: Sequence[OwnId], arm: str = "control", **more: Any
) -> Exposure:
    fields = {
        "dataset": "films",
        "release": RELEASE,
        "as_dealt": True,
        "answered": at * 1_000,
        **more,
    }
    fields["recommendation"] = f"{userid}@{at}"
    return Exposure(
        experiment="ranker",
        arm=arm,
        userid=userid,
        timestamp=at,
        items=tuple(items),
        **fields,
    )


def rated(item: OwnId, at: int, value: float = 5.0, **more: Any) -> Event:
    return Event(f"{item}@{at}", 1, item, "rating", at, value, **more)


def found(
    exposures: Sequence[Exposure],
    events: Mapping[OwnId, Sequence[Event]],
    kind: str = "split",
    now: float = LONG_AFTER,
) -> Outcomes:
    return joined(
        experiment(kind),
        exposures,
        lambda users: {u: events.get(u, ()) for u in users},
        STARS,
        now,
    )


def test_a_liked_item_counts_where_it_was_shown_before() -> None:
    outcomes = found(
        [shown(1, 100, [7, 8, 9])], {1: [rated(9, 200), rated(7, 100), rated(5, 150)]}
    )
    assert outcomes.values["hits"].tolist() == [2]
    assert outcomes.values["gain"] == pytest.approx([1 / np.log2(2) + 1 / np.log2(4)])
    assert outcomes.values["hit"].tolist() == [1]


@pytest.mark.parametrize(
    "event",
    [
        rated(7, 99),  # before it was shown
        rated(7, 100 + HOUR + 1),  # after the horizon
        rated(7, 200, value=2.0),  # not liked
        Event("e", 1, 7, "view", 200),
        rated(70, 200),  # not shown
    ],
)
def test_nothing_else_counts(event: Event) -> None:
    outcomes = found([shown(1, 100, [7, 8])], {1: [event]})
    counted = {name: values.tolist() for name, values in outcomes.values.items()}
    assert counted == {key: [0] for key in ("hit", "hits", "gain", "preference")}


def undone(item: OwnId, at: int) -> Event:
    return Event(f"undo {item}@{at}", 1, item, "undo", at)


@pytest.mark.parametrize(
    ("events", "hits"),
    [
        ([rated(7, 200), undone(7, 300)], 0),
        ([rated(7, 200), rated(7, 300, value=1.0)], 0),
        ([rated(7, 200, value=1.0), rated(7, 300)], 1),
        ([rated(7, 200), undone(7, 300), rated(7, 400)], 1),
        ([rated(7, 200), undone(8, 300)], 1),
        ([rated(7, 200), undone(7, 100 + HOUR + 1)], 1),  # after the horizon
        ([rated(7, 200), undone(7, 200)], 0),  # of one second, the later in the log
    ],
)
def test_the_last_event_within_the_horizon_counts(
    events: list[Event], hits: int
) -> None:
    assert found([shown(1, 100, [7, 8])], {1: events}).values["hits"].tolist() == [hits]


def test_an_item_counts_once_for_its_named_or_latest_answer() -> None:
    answers = [shown(1, 100, [7, 8]), shown(1, 200, [9, 8, 7]), shown(1, 300, [7])]
    assert found(answers, {1: [rated(7, 250), rated(7, 260)]}).values[
        "gain"
    ] == pytest.approx([0.5])
    named = rated(7, 250, recommendation="1@100")
    assert found(answers, {1: [named]}).values["gain"].tolist() == [1]


def test_an_answer_written_twice_counts_once() -> None:
    answers = [shown(1, 100, [7]), shown(1, 100, [7])]
    assert found(answers, {}).exposures == 1


def test_users_are_ordered_by_first_answer_and_all_count() -> None:
    answers = [
        shown(2, 300, [7], "treatment"),
        shown(1, 400, [7]),
        shown(2, 100, [7], "treatment"),
    ]
    outcomes = found(answers, {1: [rated(7, 500)]})
    assert outcomes.userids == [2, 1]
    assert outcomes.arms.tolist() == ["treatment", "control"]
    assert outcomes.values["hit"].tolist() == [0, 1]


def test_a_user_enters_when_the_horizon_is_over() -> None:
    answers = [shown(1, 100, [7]), shown(2, 200, [7])]
    outcomes = found(answers, {}, now=100 + HOUR)
    assert outcomes.userids == [1]
    assert outcomes.watched == {"control": 1}
    assert found([], {}).userids == []


def test_answers_count_until_a_minute_after_the_end() -> None:
    answers = [
        shown(1, 100, [7]),
        shown(1, 261, [8]),
        shown(2, 260, [7]),
        shown(3, 261, [7]),
    ]
    over = experiment().model_copy(update={"stopped": 200})
    outcomes = joined(over, answers, lambda _: {1: [rated(8, 300)]}, STARS, LONG_AFTER)
    assert (outcomes.userids, outcomes.exposures) == ([1, 2], 2)
    assert outcomes.values["hits"].tolist() == [0, 0]


def test_users_in_several_arms_are_left_out() -> None:
    outcomes = found(
        [shown(1, 100, [7]), shown(1, 200, [7], "treatment"), shown(2, 100, [7])], {}
    )
    assert (outcomes.userids, outcomes.in_several) == ([2], 1)


def test_a_user_counts_for_the_arm_whatever_release_has_answered() -> None:
    outcomes = found(
        [shown(1, 100, [7], "treatment", as_dealt=False)], {1: [rated(7, 200)]}
    )
    assert outcomes.arms.tolist() == ["treatment"]
    assert outcomes.not_as_dealt == 1


@pytest.mark.parametrize(
    ("liked", "preference"),
    [
        ([], 0),
        ([7], -1),
        ([8], 1),
        ([7, 8], 0),
        ([7, 8, 9], -1 / 3),
        ([6], 0),
        ([6, 8], 1),
    ],
)
def test_of_an_interleaved_list_the_teams_are_compared(
    liked: list[int], preference: float
) -> None:
    """An item of neither team is nobody's."""
    answer = shown(1, 100, [7, 8, 9, 6], "", teams="010-")
    outcomes = found([answer], {1: [rated(item, 200) for item in liked]}, "interleaved")
    assert outcomes.values["preference"] == pytest.approx([preference])
    alone = shown(1, 90, [7], "control", as_dealt=False)
    assert found([answer, alone], {}, "interleaved").in_several == 0


USERS = 2_000


def outcomes(lift: float, share: float = 0.5, n: int = USERS, **more: Any) -> Outcomes:
    rng = np.random.default_rng(0)
    arms = np.where(rng.random(n) < share, "treatment", "control").astype(np.str_)
    hits = rng.poisson(1.0, n) + rng.poisson(lift, n) * (arms == "treatment")
    values = {
        "hit": (hits > 0) * 1.0,
        "hits": hits * 1.0,
        "gain": hits * 0.5,
        "preference": np.zeros(n),
    }
    return Outcomes(list(range(n)), arms, values, exposures=n, **more)


def preferences(mean: float) -> Outcomes:
    rng = np.random.default_rng(0)
    values: NDArray[np.float64] = rng.choice(
        [-1.0, 0.0, 1.0], USERS, p=[0.3 - mean / 2, 0.4, 0.3 + mean / 2]
    )
    nothing = np.zeros(USERS)
    of_metrics = {
        "hit": nothing,
        "hits": nothing,
        "gain": nothing,
        "preference": values,
    }
    return Outcomes(list(range(USERS)), np.full(USERS, ""), of_metrics, exposures=USERS)


def printed(found: dict[str, Any]) -> str:
    said = io.StringIO()
    show(found, Console(file=said, width=200))
    return said.getvalue()


@pytest.mark.parametrize(
    ("lift", "said"),
    [(0.0, "No difference is found so far."), (0.4, "treatment is better.")],
)
def test_a_difference_is_found_where_there_is_one(lift: float, said: str) -> None:
    found = found_by(experiment(), outcomes(lift))
    assert found["warnings"] == []
    for metric, difference in found["differences"]["treatment"].items():
        means = found["means"][metric]
        assert difference["estimate"] == pytest.approx(
            means["treatment"] - means["control"]
        )
        assert difference["low"] < difference["estimate"] < difference["high"]
    assert said in printed(found)
    assert sum(found["users"].values()) == USERS


@pytest.mark.parametrize(
    ("mean", "said"),
    [
        (0.0, "No difference is found so far."),
        (0.2, "treatment is better."),
        (-0.2, "is worse."),
    ],
)
def test_a_preference_is_found_where_there_is_one(mean: float, said: str) -> None:
    found = found_by(experiment("interleaved"), preferences(mean))
    assert (
        found["wins"]["control"] + found["wins"]["treatment"] + found["wins"]["neither"]
        == USERS
    )
    assert (found["wins"]["treatment"] > found["wins"]["control"]) == (
        mean > 0 or found["preference"]["estimate"] > 0
    )
    assert said in printed(found)


def test_an_arm_that_loses_users_is_a_warning() -> None:
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


def test_failures_are_reported() -> None:
    found = found_by(
        experiment(), outcomes(0.0, not_as_dealt=USERS // 10, in_several=3)
    )
    assert "are not what the experiment requested" in found["warnings"][0]
    assert "3 users were in several arms" in found["warnings"][1]


@pytest.mark.parametrize("n", [0, 20])
@pytest.mark.parametrize("kind", ["split", "interleaved"])
def test_few_users_say_nothing_and_can_be_shown_and_drawn(n: int, kind: str) -> None:
    few = outcomes(0.0, n=n)
    found = found_by(
        experiment(kind), few if kind == "split" else replace(few, arms=np.full(n, ""))
    )
    assert (
        f"Too few users yet: {'100 of each arm' if kind == 'split' else '200 in all'} are needed"
        in printed(found)
    )
    assert "nan" not in printed(found)
    assert "inf" not in printed(found)
    over_time(Figure().subplots(), plain(found))


LIVE = "cccccccccccc"


def live(name: str) -> FakeUsers:
    """A release of that data set alone is kept."""
    return FakeUsers(DefaultWorld(release=LIVE, name=name), live=LIVE)


def test_event_meaning_comes_from_the_active_release() -> None:
    assert dataset_of(experiment(), live("films")).base_name == "films"  # type: ignore[arg-type]
    with pytest.raises(StepError, match="No release of data set films is published"):
        dataset_of(experiment(), live("books"))  # type: ignore[arg-type]


def test_event_meaning_comes_from_a_release_that_can_be_read() -> None:
    users = live("films")
    users.history.insert(0, "dddddddddddd")
    users.unreadable.add("dddddddddddd")
    assert dataset_of(experiment(), users).base_name == "films"  # type: ignore[arg-type]
