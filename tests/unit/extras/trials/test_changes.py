"""Trials from their declaration to their end, and which users are in them."""

from __future__ import annotations

import argparse
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
from scipy import stats

from extras.trials import __main__ as command
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
from online.recommend.outcomes import BadRequestError

ACTIVE, NEW, OTHER = "a" * 12, "b" * 12, "c" * 12
PUBLISHED = {ACTIVE: "films", NEW: "films", OTHER: "baskets"}
USERS = range(1, 20_001)
STRANGE = 1e-6  # a p-value that no sound deal has: the users are always the same ones
ARMS: dict[str, Any] = {"control": {"release": ACTIVE}, "treatment": {"release": NEW}}
ADVANCE, BACK = Decision("advance"), Decision("roll back", "errors", "9 %")


def declaration(name: str = "ranker", **given: Any) -> Declaration:
    return Declaration.model_validate({"name": name, "arms": ARMS, **given})


def experiment(name: str = "ranker", **given: Any) -> Experiment:
    arms = {"a": Arm(release=ACTIVE), "b": Arm(release=NEW)}
    fields = {"dataset": "films", "started": 0, "arms": arms}
    return Experiment.model_validate({"name": name, **fields, **given})


def with_experiment(name: str = "ranker", **given: Any) -> Trials:
    return changes.start_experiment(Trials(), declaration(name, **given), PUBLISHED)


def started(before: Trials | None = None, **more: Any) -> Trials:
    """With a canary."""
    given: dict[str, Any] = {
        "release": NEW,
        "active": ACTIVE,
        "published": PUBLISHED,
        "share": 0.05,
        "requests": 100,
    }
    return changes.start_canary(before or Trials(), **given | more)


def running(found: Trials) -> Canary:
    assert found.canary is not None
    return found.canary


# --- who is in a trial


@pytest.mark.parametrize(
    ("first", "second"),
    [(("a", b"layer"), ("a", b"arm")), (("a", b"arm"), ("b", b"arm"))],
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


def test_arms_get_users_by_share_and_weight() -> None:
    """When the share changes, users join, and nobody changes arms."""
    arms = {"a": Arm(release=ACTIVE, weight=3), "b": Arm(release=NEW)}
    few = experiment(share=0.4, arms=arms)
    counts = Counter(few.arm_of(user) for user in USERS)
    found = [counts[each] for each in ("a", "b", None)]
    assert stats.chisquare(found, [6_000, 2_000, 12_000]).pvalue > STRANGE
    more = few.model_copy(update={"share": 0.5})
    assert all(more.arm_of(user) == arm for user in USERS if (arm := few.arm_of(user)))
    assert Trials(experiments=(few,)).assigned(1, "baskets") == (None, "")


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
    found = changes.reshare(with_experiment(share=0.1), "ranker", 0.5)
    assert found.named("ranker").share == 0.5
    found = changes.stop_experiment(found, "ranker")
    (over,) = Trials.model_validate_json(found.model_dump_json()).experiments
    assert over.stopped
    assert list(over.arms) == list(ARMS)  # in the order of the declaration
    with pytest.raises(TrialError, match="is stopped"):
        changes.reshare(found, "ranker", 1)
    for n in range(changes.KEPT):
        new = declaration(f"x{n}")
        found = changes.start_experiment(found, new, PUBLISHED)
        found = changes.stop_experiment(found, f"x{n}")
    assert len(found.experiments) == changes.KEPT
    with pytest.raises(TrialError, match="'ranker'"):
        found.named("ranker")


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"name": "there"}, "name"),
        ({"arms": {**ARMS, "new": {"release": OTHER}}}, "arms"),
        ({"arms": {**ARMS, "new": {"release": "f" * 12}}}, "arms"),
        ({"before": started()}, "release"),
        ({"before": with_experiment()}, "release"),
    ],
)
def test_an_experiment_that_cannot_start(more: dict[str, Any], field: str) -> None:
    there = changes.stop_experiment(with_experiment("there"), "there")
    given = {"name": "new", "before": there, **more}
    before, new = given.pop("before"), declaration(**given)
    with pytest.raises(TrialError) as refused:
        changes.start_experiment(before, new, PUBLISHED)
    assert refused.value.field == field


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
        ({"before": started()}, "release"),
        ({"before": with_experiment()}, "release"),
    ],
)
def test_a_canary_that_cannot_start(more: dict[str, Any], field: str) -> None:
    with pytest.raises(TrialError) as refused:
        started(**more)
    assert refused.value.field == field


def test_a_canary_advances_in_steps_and_is_activated() -> None:
    found, steps = started(), []
    while not running(found).activating:
        before, canary = found, running(found)
        steps.append(canary.share)
        found = changes.follow_decision(before, canary, ADVANCE)
        for late in (ADVANCE, BACK):  # of another worker
            assert changes.follow_decision(found, canary, late) == found
    assert steps == [0.05, 0.25, 0.5]
    assert f"make activate release={NEW}" in str(running(found))
    assert changes.follow_decision(found, running(found), BACK) == found
    done = changes.settle_canary(found, NEW, PUBLISHED)
    assert done.canary is None
    last = done.ended[0]
    assert (last.verdict, last.reason, last.share) == ("activated", "", 0.5)


def test_a_rollback_is_in_the_history_and_happens_once() -> None:
    found = started()
    canary = running(found)
    back = changes.follow_decision(found, canary, BACK)
    assert back.canary is None
    said = f"{NEW} rolled back, errors, 9 % (5% of the users)"
    assert str(back.ended[0]).endswith(said)
    for late in (BACK, ADVANCE):
        assert changes.follow_decision(back, canary, late) == back


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


def arguments(**given: Any) -> argparse.Namespace:
    arms = f"control=live:3  new={NEW}"
    fields = {"share": None, "horizon_s": None, "name": "ranker", "arms": arms}
    return argparse.Namespace(**{**fields, **given})


def test_an_experiment_is_declared_on_the_command_line() -> None:
    arms = {"control": {"release": ACTIVE, "weight": 3}, "new": {"release": NEW}}
    found = command.declaration(arguments(share=0.5, horizon_s="60"), ACTIVE)
    assert found == declaration(arms=arms, share=0.5, horizon_s=60)


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"arms": ""}, "arms"),
        ({"arms": "control new=live"}, "arms.control.release"),
        ({"arms": "control=live"}, "arms"),
        ({"arms": "control=live control=live"}, "arms"),
        ({"arms": "control=live:x new=live"}, "arms.control.weight"),
        ({"arms": "control=live new=short"}, "arms.new.release"),
        ({"name": None}, "name"),
        ({"name": "x2;id"}, "name"),
        ({"share": 1.1}, "share"),
        ({"horizon_s": 0}, "horizon_s"),
    ],
)
def test_a_wrong_command_line_names_the_field(
    given: dict[str, Any], field: str
) -> None:
    with pytest.raises(BadRequestError) as refused:
        command.declaration(arguments(**given), ACTIVE)
    assert refused.value.field == field
