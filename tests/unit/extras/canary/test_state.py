from __future__ import annotations

from typing import Any

import pytest

from extras.canary import state
from extras.canary.decision import Decision
from extras.canary.state import Canaries, Canary, CanaryError, member

ACTIVE, NEW, OTHER = "a" * 12, "b" * 12, "c" * 12
PUBLISHED = {ACTIVE: "films", NEW: "films", OTHER: "baskets"}
ADVANCE, BACK = Decision("advance"), Decision("roll back", "errors", "9 %")


def started(before: Canaries | None = None, **more: Any) -> Canaries:
    given: dict[str, Any] = {
        "release": NEW,
        "active": ACTIVE,
        "published": PUBLISHED,
        "share": 0.05,
        "users": 100,
    }
    given |= {"known": 6_040, "now": 1_000.0, "away_s": 60.0, "new_id": "one"}
    return state.started(before or Canaries(), **{**given, **more})


def running(found: Canaries) -> Canary:
    assert found.running is not None
    return found.running


@pytest.mark.parametrize(
    ("more", "field", "message"),
    [
        (
            {"release": "d" * 12},
            "release",
            "is not published; published besides the active one: bbbb",
        ),
        ({"release": ACTIVE}, "release", "is the active one"),
        ({"release": OTHER}, "release", "another data set"),
        ({"active": None}, "release", "No release is active"),
        ({"share": 0.0}, "share", "above 0 and at most 0.5"),
        ({"share": 0.6}, "share", "above 0 and at most 0.5"),
        ({"users": 0}, "users", "from 1 to 151"),
        ({"users": 152}, "users", "from 1 to 151"),
        ({"known": 12, "users": None}, "users", "larger share"),
        ({"before": started()}, "release", "A canary runs already"),
    ],
)
def test_refusals(more: dict[str, Any], field: str, message: str) -> None:
    with pytest.raises(CanaryError, match=message) as refused:
        started(**more)
    assert refused.value.field == field


@pytest.mark.parametrize(
    ("known", "users"), [(6_040, 151), (1_000_000, 1_000), (40, 1)]
)
def test_a_step_needs_no_more_users_than_may_come(known: int, users: int) -> None:
    assert running(started(known=known, users=None)).users == users


def test_it_advances_in_steps_and_is_activated() -> None:
    found, shares = started(), []
    while not running(found).activating:
        canary = running(found)
        shares.append((canary.share, canary.joined))
        found = state.after(found, canary, ADVANCE, canary.joined + 100, 60.0)
    assert shares == [(0.05, 1_060.0), (0.25, 1_220.0), (0.5, 1_380.0)]
    canary = running(found)
    assert state.after(found, canary, BACK, 2_000, 60.0) == found
    done = state.superseded(found, NEW, 2_000)
    assert done.running is None
    assert (done.ended[0].verdict, done.ended[0].reason, done.ended[0].share) == (
        "activated",
        "",
        0.5,
    )
    assert state.ended(found, canary, "activated", now=2_000) == done


def test_a_waiting_canary_is_activated_by_feedback_or_by_hand() -> None:
    found = started(share=0.5)
    waits = state.after(found, running(found), Decision("wait"), 2_000, 60.0)
    assert running(waits).waiting
    assert NEW in str(running(waits)).partition("make activate")[2]
    assert state.after(waits, running(waits), Decision("wait"), 2_001, 60.0) == waits
    assert (
        state.after(waits, running(waits), BACK, 2_001, 60.0).ended[0].reason
        == "errors"
    )
    advanced = running(state.after(waits, running(waits), ADVANCE, 2_001, 60.0))
    assert (advanced.activating, advanced.waiting) == (True, False)
    assert state.superseded(waits, NEW, 2_001).ended[0].verdict == "activated"


def test_status_says_when_the_first_users_come() -> None:
    canary = running(started())
    assert "first users at 00:17:40 UTC" in canary.status(canary.joined - 1)
    assert canary.status(canary.joined) == str(canary)


def test_a_rollback_is_in_the_history_and_happens_once() -> None:
    found = started()
    canary = running(found)
    back = state.after(found, canary, BACK, 1_500, 60.0)
    assert back.running is None
    assert (back.ended[0].verdict, back.ended[0].reason, back.ended[0].detail) == (
        "rolled back",
        "errors",
        "9 %",
    )
    assert state.after(back, canary, BACK, 1_501, 60.0) == back
    assert state.after(back, canary, ADVANCE, 1_501, 60.0) == back
    assert state.ended(back, canary, "stopped", now=1_502) == back
    assert "rolled back at 5%, errors: 9 %" in str(back.ended[0])


def test_a_decision_on_an_earlier_step_changes_nothing() -> None:
    found = started()
    first = running(found)
    second = state.after(found, first, ADVANCE, 1_200, 60.0)
    assert state.after(second, first, ADVANCE, 1_200, 60.0) == second
    assert state.after(second, first, BACK, 1_200, 60.0) == second


@pytest.mark.parametrize(
    ("active", "verdict", "reason"),
    [
        (NEW, "activated", "by hand"),
        (OTHER, "rolled back", "superseded"),
        (None, "rolled back", "superseded"),
    ],
)
def test_another_active_release_ends_it(
    active: str | None, verdict: str, reason: str
) -> None:
    found = state.superseded(started(), active, 1_500)
    assert found.running is None
    assert (found.ended[0].verdict, found.ended[0].reason) == (verdict, reason)
    assert state.superseded(started(), ACTIVE, 1_500) == started()


def test_a_deleted_release_ends_it() -> None:
    assert state.deleted(started(), {OTHER}, 1_500) == started()
    assert state.deleted(started(), {NEW}, 1_500).ended[0].reason == "deleted"


def test_the_history_keeps_the_newest() -> None:
    found = Canaries()
    for number in range(state.KEPT + 3):
        found = started(found, new_id=f"{number}")
        found = state.ended(found, running(found), "stopped", now=number)
    assert [each.id for each in found.ended][:2] == [
        f"{state.KEPT + 2}",
        f"{state.KEPT + 1}",
    ]
    assert len(found.ended) == state.KEPT


def test_users_stay_in_their_group_from_step_to_step() -> None:
    first = running(started())
    second, third = (
        first.model_copy(update={"step": 1}),
        first.model_copy(update={"step": 2}),
    )
    groups = [
        {user: member(step, user) for user in range(20_000)}
        for step in (first, second, third)
    ]
    for step, share in zip(groups, (0.05, 0.25, 0.5), strict=True):
        for group in ("canary", "active"):
            of_group = [
                user for user, found in step.items() if found and found[0] == group
            ]
            assert len(of_group) == pytest.approx(share * 20_000, rel=0.06)
    for user, found in groups[0].items():
        if found is not None:
            assert found[1]
            assert groups[1][user] == (found[0], False)
    assert all(
        groups[2][user] == (found[0], False)
        for user, found in groups[1].items()
        if found is not None
    )


def test_both_groups_are_alike_in_size() -> None:
    found = [member(running(started()), user) for user in range(40_000)]
    sizes = [
        sum(each is not None and each[0] == group for each in found)
        for group in ("canary", "active")
    ]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.1)


def test_another_canary_has_other_users() -> None:
    one, two = running(started()), running(started(new_id="two"))
    both = sum(
        member(one, user) is not None and member(two, user) is not None
        for user in range(20_000)
    )
    assert both < 0.03 * 20_000
