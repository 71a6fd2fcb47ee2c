"""Trials from their declaration to their end, and which users are in them."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy import stats

from extras.trials import changes
from extras.trials.assignment import BUCKETS, Ranges, bucket, places, resized
from extras.trials.decision import Decision
from extras.trials.state import (
    Arm,
    Canary,
    Declaration,
    Experiment,
    TrialError,
    Trials,
)

ACTIVE, NEW, OTHER = "a" * 12, "b" * 12, "c" * 12
PUBLISHED = {ACTIVE: "films", NEW: "films", OTHER: "baskets"}
USERS = range(1, 20_001)
STRANGE = 1e-6  # a p-value that no sound deal has: the users are always the same ones
ARMS: dict[str, Any] = {"control": {"release": ACTIVE}, "treatment": {"release": NEW}}
ADVANCE, BACK = Decision("advance"), Decision("roll back", "errors", "9 %")


def declaration(name: str = "ranker", **given: Any) -> Declaration:
    return Declaration.model_validate({"name": name, "arms": ARMS, **given})


def experiment(name: str = "ranker", **given: Any) -> Experiment:
    fields = {
        "dataset": "films",
        "buckets": ((0, BUCKETS),),
        "started": 0,
        "arms": {"a": Arm(release=ACTIVE), "b": Arm(release=NEW)},
    }
    return Experiment.model_validate({"name": name, **fields, **given})


def with_experiments(*declarations: Declaration) -> Trials:
    found = Trials()
    for now, each in enumerate(declarations):
        found = changes.start_experiment(found, each, PUBLISHED, now)
    return found


def started(before: Trials | None = None, **more: Any) -> Trials:
    """With a canary."""
    given: dict[str, Any] = {
        "release": NEW,
        "active": ACTIVE,
        "published": PUBLISHED,
        "share": 0.05,
        "users": 100,
        "known": 6_040,
        "now": 1_000.0,
        "new_id": "one",
    }
    return changes.start_canary(before or Trials(), **given | more)


def running(found: Trials) -> Canary:
    assert found.canary is not None
    return found.canary


# --- who is in a trial


@pytest.mark.parametrize("salt", ["main", "ranker"])
@pytest.mark.parametrize("purpose", [b"layer", b"arm"])
def test_users_are_dealt_evenly(salt: str, purpose: bytes) -> None:
    counts = Counter(bucket(salt, user, purpose) * 100 // BUCKETS for user in USERS)
    assert stats.chisquare([counts[n] for n in range(100)]).pvalue > STRANGE


@pytest.mark.parametrize(
    ("first", "second"),
    [(("main", b"layer"), ("main", b"arm")), (("a", b"arm"), ("b", b"arm"))],
)
def test_experiments_are_independent(
    first: tuple[str, bytes], second: tuple[str, bytes]
) -> None:
    together = [[0] * 10 for _ in range(10)]
    for user in USERS:
        one, other = (
            bucket(salt, user, purpose) * 10 // BUCKETS
            for salt, purpose in (first, second)
        )
        together[one][other] += 1
    assert stats.chi2_contingency(together).pvalue > STRANGE


def test_a_users_arm_is_deterministic() -> None:
    """Written down, as it must not change from one version to the next while an experiment runs."""
    known = {1: "a", 3: "b", 7: "a", "u-8f3a": "b", "陌生人": "a"}
    assert {user: experiment().arm_of(user) for user in known} == known


def test_arms_get_users_by_weight_and_experiments_share_none() -> None:
    arms = {"a": Arm(release=ACTIVE, weight=3), "b": Arm(release=NEW)}
    first = experiment("first", buckets=((0, 4_000),), arms=arms)
    second = experiment("second", buckets=((4_000, 9_000),))
    trials = Trials(experiments=(first, second))
    counts: Counter[Any] = Counter()
    for user in USERS:
        assigned = trials.assigned(user, "films")
        counts[assigned and (assigned.trial.name, assigned.arm)] += 1
    expected = {
        ("first", "a"): 6_000,
        ("first", "b"): 2_000,
        ("second", "a"): 5_000,
        ("second", "b"): 5_000,
        None: 2_000,
    }
    found = [counts[each] for each in expected]
    assert stats.chisquare(found, list(expected.values())).pvalue > STRANGE
    assert trials.assigned(1, "baskets") is None


def size(ranges: Ranges) -> int:
    assert all(0 <= first < after <= BUCKETS for first, after in ranges)
    # neither overlapping nor touching
    assert all(after < first for (_, after), (first, _) in pairwise(ranges))
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
    before, after = places([mine]), places([changed])
    assert not after & places(others)
    assert before <= after or after <= before


def test_a_canarys_users_stay_in_their_group() -> None:
    steps = [running(started()).model_copy(update={"step": step}) for step in range(3)]
    groups = [{user: step.arm_of(user) for user in USERS} for step in steps]
    for step, share in zip(groups, (0.05, 0.25, 0.5), strict=True):
        sizes = Counter(step.values())
        for group in ("canary", "active"):
            assert sizes[group] == pytest.approx(share * len(USERS), rel=0.06)
    for earlier, later in pairwise(groups):
        assert all(later[user] == group for user, group in earlier.items() if group)


def test_another_canary_has_other_users() -> None:
    one, two = running(started()), running(started(new_id="two"))
    both = sum(bool(one.arm_of(user) and two.arm_of(user)) for user in USERS)
    assert both < 0.03 * len(USERS)


# --- experiments


def test_an_experiment_is_resized_and_stopped_and_stays_known() -> None:
    found = changes.reshare(with_experiments(declaration(share=0.1)), "ranker", 0.5)
    assert found.named("ranker").buckets == ((0, 5_000),)
    found = changes.stop_experiment(found, "ranker", 7)
    (over,) = Trials.model_validate_json(found.model_dump_json()).experiments
    assert (over.started, over.stopped, over.runs) == (0, 7, False)
    assert list(over.arms) == list(ARMS)  # in the order of the declaration
    for change in (changes.stop_experiment, changes.reshare):
        with pytest.raises(TrialError, match="is stopped"):
            change(found, "ranker", 1)


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"name": "there"}, "name"),
        ({"arms": {**ARMS, "new": {"release": OTHER}}}, "arms"),
        ({"arms": {**ARMS, "new": {"release": "f" * 12}}}, "arms"),
        ({"share": 0.5}, "share"),
    ],
)
def test_an_experiment_that_cannot_start(more: dict[str, Any], field: str) -> None:
    before = with_experiments(declaration("there", share=0.6))
    new = declaration(**{"name": "new", **more})
    with pytest.raises(TrialError) as refused:
        changes.start_experiment(before, new, PUBLISHED, 9)
    assert refused.value.field == field


def test_stopped_experiments_use_no_share() -> None:
    found = changes.stop_experiment(with_experiments(declaration("old")), "old", 1)
    new = declaration("new", share=0.9)
    found = changes.start_experiment(found, new, PUBLISHED, 2)
    assert [each.name for each in found.running] == ["new"]


def test_the_oldest_stopped_experiments_are_dropped() -> None:
    found = with_experiments(declaration("kept", share=0.1))
    for n in range(changes.KEPT + 5):
        new = declaration(f"x{n}", share=0.1)
        found = changes.start_experiment(found, new, PUBLISHED, n)
        found = changes.stop_experiment(found, f"x{n}", n)
    assert len(found.experiments) <= changes.KEPT + 1
    assert found.named("kept").runs
    with pytest.raises(TrialError, match="'x0'"):
        found.named("x0")


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "No Capitals"},
        {"arms": {"control": {"release": ACTIVE}}},
        {"arms": {"control": {"release": "short"}, "treatment": {"release": NEW}}},
        {"share": 0},
        {"share": 1.1},
        {"horizon_s": 0},
        {"metric": "money"},
        {"kind": "interleaved"},
    ],
)
def test_a_wrong_declaration_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        declaration(**wrong)


# --- canaries


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"release": "d" * 12}, "release"),
        ({"release": ACTIVE}, "release"),
        ({"release": OTHER}, "release"),
        ({"active": None}, "release"),
        ({"share": 0.0}, "share"),
        ({"share": 0.6}, "share"),
        ({"users": 0}, "users"),
        ({"users": 152}, "users"),
        ({"known": 12, "users": None}, "users"),
        ({"before": started()}, "release"),
        ({"before": with_experiments(declaration())}, "release"),
    ],
)
def test_a_canary_that_cannot_start(more: dict[str, Any], field: str) -> None:
    with pytest.raises(TrialError) as refused:
        started(**more)
    assert refused.value.field == field


def test_while_a_canary_runs_no_experiment_can() -> None:
    with pytest.raises(TrialError, match="A canary runs"):
        changes.start_experiment(started(), declaration(), PUBLISHED, 1)


@pytest.mark.parametrize(
    ("known", "users"), [(6_040, 151), (1_000_000, 1_000), (40, 1)]
)
def test_a_step_needs_no_more_users_than_may_come(known: int, users: int) -> None:
    assert running(started(known=known, users=None)).users == users


def test_a_canary_advances_in_steps_and_is_activated() -> None:
    found, steps = started(), []
    while not running(found).activating:
        canary = running(found)
        steps.append((canary.share, canary.joined))
        after = canary.joined + 100
        found = changes.follow_decision(found, canary, ADVANCE, after)
    assert steps == [(0.05, 1_000), (0.25, 1_100), (0.5, 1_200)]
    canary = running(found)
    assert changes.follow_decision(found, canary, BACK, 2_000) == found
    done = changes.settle_canary(found, NEW, PUBLISHED, 2_000)
    assert done.canary is None
    last = done.ended[0]
    assert (last.verdict, last.reason, last.share) == ("activated", "", 0.5)
    assert changes.end_canary(found, canary, "activated", now=2_000) == done


def test_a_waiting_canary_is_activated_by_feedback_or_by_hand() -> None:
    found = started(share=0.5)
    wait = Decision("wait")
    waits = changes.follow_decision(found, running(found), wait, 2_000)
    canary = running(waits)
    assert canary.waiting
    assert f"make activate release={NEW}" in str(canary)
    assert changes.follow_decision(waits, canary, wait, 2_001) == waits
    back = changes.follow_decision(waits, canary, BACK, 2_001)
    assert back.ended[0].reason == "errors"
    advanced = running(changes.follow_decision(waits, canary, ADVANCE, 2_001))
    assert (advanced.activating, advanced.waiting) == (True, False)
    by_hand = changes.settle_canary(waits, NEW, PUBLISHED, 2_001)
    assert by_hand.ended[0].verdict == "activated"


def test_a_rollback_is_in_the_history_and_happens_once() -> None:
    found = started()
    canary = running(found)
    back = changes.follow_decision(found, canary, BACK, 1_500)
    assert back.canary is None
    assert back.ended[0].rejected
    assert back.ended[0].result == "rolled back at 5%, errors: 9 %"
    assert changes.follow_decision(back, canary, BACK, 1_501) == back
    assert changes.follow_decision(back, canary, ADVANCE, 1_501) == back
    assert changes.end_canary(back, canary, "stopped", now=1_502) == back


def test_a_decision_on_an_earlier_step_changes_nothing() -> None:
    found = started()
    first = running(found)
    second = changes.follow_decision(found, first, ADVANCE, 1_200)
    for decision in (ADVANCE, BACK):
        assert changes.follow_decision(second, first, decision, 1_200) == second


@pytest.mark.parametrize(
    ("active", "published", "verdict", "reason"),
    [
        (NEW, PUBLISHED, "activated", "by hand"),
        (OTHER, PUBLISHED, "rolled back", "superseded"),
        (None, PUBLISHED, "rolled back", "superseded"),
        (ACTIVE, {ACTIVE}, "rolled back", "deleted"),
    ],
)
def test_other_releases_end_a_canary(
    active: str | None, published: Any, verdict: str, reason: str
) -> None:
    found = changes.settle_canary(started(), active, published, 1_500)
    assert found.canary is None
    assert (found.ended[0].verdict, found.ended[0].reason) == (verdict, reason)
    assert not found.ended[0].rejected


def test_the_same_releases_let_a_canary_run() -> None:
    for before in (started(), Trials()):
        assert changes.settle_canary(before, ACTIVE, PUBLISHED, 1_500) == before


def test_the_history_keeps_the_newest() -> None:
    found = Trials()
    for n in range(changes.KEPT_CANARIES + 3):
        found = started(found, new_id=f"{n}")
        found = changes.end_canary(found, running(found), "stopped", now=n)
    assert len(found.ended) == changes.KEPT_CANARIES
    assert found.ended[0].id == f"{changes.KEPT_CANARIES + 2}"
