from __future__ import annotations

import argparse
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy import stats

from extras.experiments.__main__ import declared
from extras.experiments.declaration import (
    BUCKETS,
    EXPERIMENTS,
    KEPT,
    Arm,
    Declaration,
    Experiment,
    ExperimentError,
    Experiments,
    Ranges,
    arm_of,
    bucket,
    dealt,
    named,
    reshared,
    resized,
    started,
    stopped,
)
from online.recommend.outcomes import BadRequestError

LIVE, BEFORE, OTHER_DATA = "aaaaaaaaaaaa", "bbbbbbbbbbbb", "cccccccccccc"
USERS = range(1, 20_001)
STRANGE = 1e-6  # a p-value that no sound deal has: the users are always the same ones


def experiment(name: str = "ranker", **given: object) -> Experiment:
    fields = {
        "dataset": "films",
        "buckets": ((0, BUCKETS),),
        "started": 0,
        "arms": {"a": Arm(release=LIVE), "b": Arm(release=BEFORE)},
    }
    return Experiment.model_validate({"name": name, **fields, **given})


@pytest.mark.parametrize("salt", ["main", "ranker"])
@pytest.mark.parametrize("purpose", [b"layer", b"arm"])
def test_users_are_dealt_evenly(salt: str, purpose: bytes) -> None:
    counts = [0] * 100
    for userid in USERS:
        counts[bucket(salt, userid, purpose) * 100 // BUCKETS] += 1
    assert stats.chisquare(counts).pvalue > STRANGE


@pytest.mark.parametrize(
    ("first", "second"),
    [(("main", b"layer"), ("main", b"arm")), (("a", b"arm"), ("b", b"arm"))],
)
def test_experiments_are_independent(
    first: tuple[str, bytes], second: tuple[str, bytes]
) -> None:
    together = [[0] * 10 for _ in range(10)]
    for userid in USERS:
        one, other = (
            bucket(salt, userid, purpose) * 10 // BUCKETS
            for salt, purpose in (first, second)
        )
        together[one][other] += 1
    assert stats.chi2_contingency(together).pvalue > STRANGE


def test_a_users_arm_is_deterministic() -> None:
    """Written down, as it must not change from one version to the next while an experiment runs."""
    known = {1: "a", 3: "b", 7: "a", "u-8f3a": "b", "陌生人": "a"}
    assert {userid: arm_of(experiment(), userid) for userid in known} == known


def test_arms_get_users_by_their_weights() -> None:
    arms = {
        "a": Arm(release=LIVE, weight=3),
        "b": Arm(release=BEFORE),
        "c": Arm(release=LIVE, weight=4),
    }
    counts = dict.fromkeys(arms, 0)
    for userid in USERS:
        counts[arm_of(experiment(arms=arms), userid)] += 1
    expected = [len(USERS) * arm.weight / 8 for arm in arms.values()]
    assert stats.chisquare(list(counts.values()), expected).pvalue > STRANGE


def test_no_two_experiments_have_a_user_in_common() -> None:
    first, second = (
        experiment("first", buckets=((0, 3_000),)),
        experiment("second", buckets=((3_000, 9_000),)),
    )
    counts = Counter(
        found.name if (found := dealt([first, second], userid)) else "none"
        for userid in USERS
    )
    found = [counts[each] for each in ("first", "second", "none")]
    assert stats.chisquare(found, [6_000, 12_000, 2_000]).pvalue > STRANGE
    assert dealt([], 1) is None


def size(ranges: Ranges) -> int:
    assert all(0 <= first < after <= BUCKETS for first, after in ranges)
    assert all(
        after < first for (_, after), (first, _) in pairwise(ranges)
    )  # neither overlapping nor touching
    return sum(after - first for first, after in ranges)


@given(st.lists(st.integers(1, 4_000), min_size=1, max_size=8), st.integers(1, BUCKETS))
def test_as_few_users_as_possible_move(sizes: list[int], wanted: int) -> None:
    """Experiments come, the second one goes, and the first is resized."""
    held: list[Ranges] = []
    for each in sizes:
        if (ranges := resized((), held, each)) is None:
            assert sum(map(size, held)) + each > BUCKETS
        else:
            assert size(ranges) == each
            held.append(ranges)
    mine, others = held[0], held[2:]
    changed = resized(mine, others, wanted)
    if changed is None:
        assert sum(map(size, others)) + wanted > BUCKETS
        return
    assert size(changed) == wanted
    before, after, taken = (
        places(mine),
        places(changed),
        {place for each in others for place in places(each)},
    )
    assert not after & taken
    assert before <= after or after <= before


def places(ranges: Ranges) -> set[int]:
    return {place for first, after in ranges for place in range(first, after)}


THERE = {LIVE: "ml-1m", BEFORE: "ml-1m", OTHER_DATA: "shop"}
ARMS = {"control": {"release": LIVE}, "treatment": {"release": BEFORE}}


def declaration(name: str = "ranker", **given: Any) -> Declaration:
    return Declaration.model_validate({"name": name, "arms": ARMS, **given})


def running(*declarations: Declaration) -> Experiments:
    experiments: Experiments = ()
    for now, each in enumerate(declarations):
        experiments = started(experiments, each, THERE, now)
    return experiments


def test_one_is_started_resized_and_stopped_and_stays_known() -> None:
    experiments = running(declaration(share=0.1))
    experiments = reshared(experiments, "ranker", 0.5)
    assert named(experiments, "ranker").buckets == ((0, 5_000),)
    experiments = stopped(experiments, "ranker", 7)
    (over,) = EXPERIMENTS.validate_json(EXPERIMENTS.dump_json(experiments))
    assert (over.started, over.stopped, over.runs) == (0, 7, False)
    assert list(over.arms) == [
        "control",
        "treatment",
    ]  # in the order of the declaration
    for change in (stopped, reshared):
        with pytest.raises(ExperimentError, match="is stopped"):
            change(experiments, "ranker", 1)


@pytest.mark.parametrize(
    ("more", "field", "message"),
    [
        ({"name": "there"}, "name", "There is an experiment called 'there'"),
        (
            {"arms": {**ARMS, "new": {"release": OTHER_DATA}}},
            "arms",
            "several data sets: ml-1m, shop",
        ),
        (
            {"share": 0.5},
            "share",
            "50.00% of the users are wanted, and 40.00% are in no other experiment",
        ),
    ],
)
def test_an_experiment_that_cannot_start_says_why(
    more: dict[str, Any], field: str, message: str
) -> None:
    experiments = running(declaration("there", share=0.6))
    with pytest.raises(ExperimentError, match=message) as reported:
        started(
            experiments,
            Declaration.model_validate({"name": "new", "arms": ARMS, **more}),
            THERE,
            9,
        )
    assert reported.value.field == field


def test_stopped_experiments_use_no_share() -> None:
    experiments = stopped(running(declaration("old")), "old", 1)
    experiments = started(experiments, declaration("new", share=0.9), THERE, 2)
    assert [each.name for each in experiments if each.runs] == ["new"]


def test_the_oldest_stopped_ones_are_dropped() -> None:
    experiments = running(declaration("kept", share=0.1))
    for number in range(KEPT + 5):
        experiments = started(
            experiments, declaration(f"x{number}", share=0.1), THERE, number
        )
        experiments = stopped(experiments, f"x{number}", number)
    assert len(experiments) <= KEPT + 1
    assert named(experiments, "kept").runs
    with pytest.raises(ExperimentError, match="No experiment is called 'x0'"):
        named(experiments, "x0")


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "No Capitals"},
        {"arms": {"control": {"release": LIVE}}},
        {"arms": {"control": {"release": "short"}, "treatment": {"release": BEFORE}}},
        {"share": 0},
        {"share": 1.1},
        {"horizon_s": 0},
        {"metric": "money"},
        {"kind": "interleaved", "arms": {**ARMS, "third": {"release": LIVE}}},
    ],
)
def test_a_declaration_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        declaration(**wrong)


def arguments(**given: Any) -> argparse.Namespace:
    nothing = dict.fromkeys(("kind", "share", "metric", "horizon_s", "planned_users"))
    return argparse.Namespace(
        **{
            **nothing,
            "name": "ranker",
            "arms": ["control=live:3", f"new={BEFORE}"],
            **given,
        }
    )


@pytest.mark.parametrize(
    "texts", [["control=live:3", f"new={BEFORE}"], [f"control=live:3  new={BEFORE}"]]
)
def test_the_command_line_accepts_arms_as_one_text(texts: list[str]) -> None:
    arms = {"control": {"release": LIVE, "weight": 3}, "new": {"release": BEFORE}}
    assert declared(arguments(arms=texts, share=0.5), LIVE) == declaration(
        arms=arms, share=0.5
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"arms": ["control"]}, "is no arm"),
        ({"arms": ["control=live", "control=live"]}, "there twice"),
        ({"arms": ["control=live:x", "new=live"]}, "is no arm"),
        ({"name": "x2;id"}, "name: "),
    ],
)
def test_a_wrong_command_line_is_one_sentence(
    given: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadRequestError, match=message):
        declared(arguments(**given), LIVE)


def test_live_needs_a_live_release() -> None:
    with pytest.raises(ExperimentError, match="No release is live"):
        declared(arguments(), None)
