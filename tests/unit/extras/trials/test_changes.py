"""Trials from their declaration to their end, and which users are in them."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from extras.trials import changes
from extras.trials.decision import Decision
from extras.trials.state import (
    BUCKETS,
    Arm,
    Canary,
    Declaration,
    Experiment,
    TrialError,
    Trials,
    bucket,
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
    for each in declarations:
        found = changes.start_experiment(found, each, PUBLISHED)
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
    }
    return changes.start_canary(before or Trials(), **given | more)


def running(found: Trials) -> Canary:
    assert found.canary is not None
    return found.canary


# --- who is in a trial


@pytest.mark.parametrize(
    ("first", "second"),
    [(("main", b"layer"), ("main", b"arm")), (("a", b"arm"), ("b", b"arm"))],
)
def test_experiments_are_independent(first: Any, second: Any) -> None:
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


shares = st.integers(1, BUCKETS).map(lambda size: size / BUCKETS)


@settings(deadline=None)
@given(st.lists(shares, min_size=1, max_size=8), shares)
def test_as_few_users_as_possible_move(asked: list[float], wanted: float) -> None:
    """Experiments come, the second one goes, and the first is resized."""
    found, free = Trials(), 1.0
    for n, share in enumerate(asked):
        if share <= free + 1e-9:
            new = declaration(f"x{n}", share=share)
            found = changes.start_experiment(found, new, PUBLISHED)
            free -= share
        else:
            with pytest.raises(TrialError, match="are wanted"):
                changes.start_experiment(found, declaration(share=share), PUBLISHED)
    held = [changes.places(each.buckets) for each in found.experiments]
    assert len(set().union(*held)) == sum(map(len, held)) == round((1 - free) * BUCKETS)
    first, *others = found.experiments
    for gone in others[:1]:
        found, free = changes.stop_experiment(found, gone.name), free + gone.share
    if wanted > free + first.share + 1e-9:
        with pytest.raises(TrialError, match="are wanted"):
            changes.reshare(found, first.name, wanted)
        return
    ranges = changes.reshare(found, first.name, wanted).named(first.name).buckets
    assert all(after < start for (_, after), (start, _) in pairwise(ranges))
    after = changes.places(ranges)
    assert len(after) == round(wanted * BUCKETS)
    assert not after & set().union(*held[2:])
    assert held[0] <= after or after <= held[0]


def test_a_canarys_users_stay_in_their_group() -> None:
    canary = running(started())
    steps = [canary.model_copy(update={"step": step}) for step in range(3)]
    groups = [{user: step.arm_of(user) for user in USERS} for step in steps]
    for step, share in zip(groups, (0.05, 0.25, 0.5), strict=True):
        sizes = Counter(step.values())
        for group in ("canary", "active"):
            expected = [share * len(USERS), (1 - share) * len(USERS)]
            got = [sizes[group], len(USERS) - sizes[group]]
            assert stats.chisquare(got, expected).pvalue > STRANGE
    for earlier, later in pairwise(groups):
        assert all(later[user] == group for user, group in earlier.items() if group)


# --- experiments


def test_an_experiment_is_resized_and_stopped_and_stays_known() -> None:
    found = changes.reshare(with_experiments(declaration(share=0.1)), "ranker", 0.5)
    assert found.named("ranker").buckets == ((0, 5_000),)
    found = changes.stop_experiment(found, "ranker")
    (over,) = Trials.model_validate_json(found.model_dump_json()).experiments
    assert not over.runs
    assert list(over.arms) == list(ARMS)  # in the order of the declaration
    with pytest.raises(TrialError, match="is stopped"):
        changes.stop_experiment(found, "ranker")
    with pytest.raises(TrialError, match="is stopped"):
        changes.reshare(found, "ranker", 1)


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"name": "there"}, "name"),
        ({"arms": {**ARMS, "new": {"release": OTHER}}}, "arms"),
        ({"arms": {**ARMS, "new": {"release": "f" * 12}}}, "arms"),
        ({"share": 0.5}, "share"),
        ({"before": started()}, "release"),
    ],
)
def test_an_experiment_that_cannot_start(more: dict[str, Any], field: str) -> None:
    there = with_experiments(declaration("there", share=0.6))
    given = {"name": "new", "before": there, **more}
    before, new = given.pop("before"), declaration(**given)
    with pytest.raises(TrialError) as refused:
        changes.start_experiment(before, new, PUBLISHED)
    assert refused.value.field == field


def test_the_oldest_stopped_experiments_are_dropped() -> None:
    found = with_experiments(declaration("kept", share=0.1))
    for n in range(changes.KEPT + 5):
        new = declaration(f"x{n}", share=0.1)
        found = changes.start_experiment(found, new, PUBLISHED)
        found = changes.stop_experiment(found, f"x{n}")
    assert len(found.experiments) <= changes.KEPT + 1
    assert found.named("kept").runs
    with pytest.raises(TrialError, match="'x0'"):
        found.named("x0")


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


@pytest.mark.parametrize(
    ("known", "users"), [(6_040, 151), (1_000_000, 1_000), (40, 1)]
)
def test_a_step_needs_no_more_users_than_may_come(known: int, users: int) -> None:
    assert running(started(known=known, users=None)).users == users


def test_a_canary_advances_in_steps_and_is_activated() -> None:
    found, steps = started(), []
    while not running(found).activating:
        before, canary = found, running(found)
        steps.append(canary.share)
        found = changes.follow_decision(before, canary, ADVANCE)
        for late in (ADVANCE, BACK):  # of another worker
            assert changes.follow_decision(found, canary, late) == found
    assert steps == [0.05, 0.25, 0.5]
    assert changes.follow_decision(found, running(found), BACK) == found
    done = changes.settle_canary(found, NEW, PUBLISHED)
    assert done.canary is None
    last = done.ended[0]
    assert (last.verdict, last.reason, last.share) == ("activated", "", 0.5)


def test_a_waiting_canary_is_activated_by_feedback() -> None:
    found, wait = started(share=0.5), Decision("wait")
    waits = changes.follow_decision(found, running(found), wait)
    canary = running(waits)
    assert f"make activate release={NEW}" in str(canary)
    assert changes.follow_decision(waits, canary, wait) == waits
    back = changes.follow_decision(waits, canary, BACK)
    assert back.ended[0].reason == "errors"
    advanced = running(changes.follow_decision(waits, canary, ADVANCE))
    assert (advanced.activating, advanced.waiting) == (True, False)


def test_a_rollback_is_in_the_history_and_happens_once() -> None:
    found = started()
    canary = running(found)
    back = changes.follow_decision(found, canary, BACK)
    assert back.canary is None
    assert str(back.ended[0]).endswith(f"{NEW} rolled back at 5%, errors: 9 %")
    for late in (BACK, ADVANCE):
        assert changes.follow_decision(back, canary, late) == back
    assert changes.end_canary(back, canary, "stopped") == back


@pytest.mark.parametrize(
    ("active", "published", "verdict", "reason"),
    [
        (NEW, PUBLISHED, "activated", "by hand"),
        (OTHER, PUBLISHED, "stopped", "superseded"),
        (None, PUBLISHED, "stopped", "superseded"),
        (ACTIVE, {ACTIVE}, "stopped", "deleted"),
    ],
)
def test_other_releases_end_a_canary(
    active: str | None, published: Any, verdict: str, reason: str
) -> None:
    before = started()
    assert changes.settle_canary(before, ACTIVE, PUBLISHED) == before
    found = changes.settle_canary(before, active, published)
    assert found.canary is None
    assert (found.ended[0].verdict, found.ended[0].reason) == (verdict, reason)


def test_the_history_keeps_the_newest() -> None:
    found = Trials()
    for _ in range(changes.KEPT_CANARIES + 3):
        found = started(found)
        newest = running(found).id
        found = changes.stop_canary(found)
    assert len(found.ended) == changes.KEPT_CANARIES
    assert found.ended[0].id == newest
