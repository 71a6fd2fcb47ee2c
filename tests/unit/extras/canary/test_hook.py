from __future__ import annotations

import time
from collections import Counter
from functools import cached_property
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from numpy.typing import NDArray

from data_exchange_center import wire
from extras.canary import hook, state
from extras.canary.decision import CanarySettings, Decision, Likes
from extras.canary.hook import Canarying, Titles, overlap_of, problems
from extras.canary.state import Canary, member
from online.clients.triton import NOT_NUMBERS
from online.recommend.outcomes import Degradation, Outcome
from online.recommend.types import Answer, Item
from tests.unit.extras.conftest import Fakes
from tests.unit.extras.events.test_routes import ask
from tests.unit.online.world import AT, DefaultWorld, World
from tests.waiting import until

OTHER = "bbbbbbbbbbbb"


class Mild(DefaultWorld):
    """A world whose scores differ today, too: an item's age is a large number."""

    @cached_property
    def weights(self) -> NDArray[np.float32]:
        return super().weights * np.float32(1e-3)


@pytest.fixture
def kind() -> type[World]:
    return Mild


@pytest.fixture
def both(fakes: Fakes, http: FlaskClient) -> Fakes:
    """The active release, and another one that is loaded, too."""
    fakes.add(
        type(fakes.world)(release=OTHER, model=wire.MODEL, model_version=2, seed=7)
    )
    fakes.users.history.append(OTHER)
    fakes.follow()
    return fakes


def canarying(fakes: Fakes) -> Canarying:
    return fakes.app.extensions["canary"]  # type: ignore[no-any-return]


def start(
    fakes: Fakes, *, joined: float = -1.0, share: float = 0.5, **more: Any
) -> Canary:
    """Begin one whose users join after so many seconds, and that the process knows of."""
    published = dict.fromkeys((fakes.world.release, OTHER), fakes.world.dataset)
    given: dict[str, Any] = {
        "release": OTHER,
        "active": fakes.world.release,
        "published": published,
        "users": 10,
    }
    given["known"] = 10_000
    given |= {"share": share, "now": time.time(), "away_s": joined, "new_id": "one"}
    fakes.canaries.update(lambda before: state.started(before, **given | more))
    canarying(fakes).follow()
    assert fakes.canaries.state.running is not None
    return fakes.canaries.state.running


def users_of(canary: Canary, group: str) -> list[int]:
    return [
        user
        for user in range(1, 13)
        if (found := member(canary, user)) and found[0] == group
    ]


def decided(
    fakes: Fakes, monkeypatch: pytest.MonkeyPatch, action: Any, reason: str = ""
) -> None:
    monkeypatch.setattr(
        hook, "decide", lambda *_: Decision(action, reason, "in figures")
    )
    canarying(fakes).follow()


def test_without_a_canary_nothing_is_read_or_counted(
    http: FlaskClient, both: Fakes
) -> None:
    for fake in (both.users, both.canaries):
        fake.calls.clear()
    assert ask(http)["release"] == both.world.release
    assert len(both.users.calls) == 1
    assert both.canaries.calls == []
    assert http.get("/ml/canary").json == {
        "running": None,
        "ended": [],
        "progress": None,
    }
    assert "notes" not in (http.get("/readyz").json or {})


def test_its_share_of_the_users_gets_it_and_is_counted(
    http: FlaskClient, both: Fakes
) -> None:
    canary = start(both)
    theirs = users_of(canary, "canary")
    answers = {user: ask(http, user) for user in range(1, 13)}
    assert {
        user for user, answer in answers.items() if answer["release"] == OTHER
    } == set(theirs)
    assert {each["release"] for each in answers.values()} == {OTHER, both.world.release}
    for user in theirs:
        assert answers[user]["item_list"] == ask(http, user, release=OTHER)["item_list"]
    canarying(both).follow()
    counts, users = both.canaries.counts(canary)
    assert users == {group: counts[f"{group}:requests"] for group in state.GROUPS}
    assert counts["active:requests"] == len(users_of(canary, "active"))
    assert both.canaries.answered["one", 0, "canary"] == set(theirs)
    assert not {name for name in counts if name.endswith(("errors", "scores", "wrong"))}


def test_its_progress_is_reported(
    http: FlaskClient, both: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        hook, "likes_of", lambda *_: Likes(-0.1, -0.4, 0.2, 300, canary=40, active=50)
    )
    canary = start(both, joined=60.0)
    assert running(http)["progress"]["next_at"] == canary.joined
    both.canaries.state = state.Canaries()
    canary = start(both)
    for user in range(1, 13):
        ask(http, user)
    canarying(both).measure()
    canarying(both).follow()
    found = running(http)["progress"]
    groups = {each["group"]: each for each in found["groups"]}
    for name, group in groups.items():
        assert (group["users"], group["requests"]) == (len(users_of(canary, name)),) * 2
        assert (group["errors"], group["wrong"]) == (0, 0)
    assert (groups["canary"]["release"], groups["active"]["release"]) == (
        OTHER,
        both.world.release,
    )
    assert (
        groups["canary"]["likes"],
        groups["active"]["likes"],
        found["likes_low"],
    ) == (40, 50, -0.4)
    assert groups["active"]["p99_ms"] >= groups["active"]["p50_ms"] > 0
    bounds = {each["name"]: each for each in found["guardrails"]}
    assert list(bounds) == [
        "scores",
        "errors",
        "wrong",
        "short",
        "degraded",
        "latency",
        "distance",
        "likes",
    ]
    assert (
        bounds["likes"]["value"],
        bounds["likes"]["certain"],
        bounds["likes"]["bound"],
    ) == (-0.1, 0.2, -0.03)
    assert (bounds["errors"]["value"], bounds["errors"]["certain"]) == (0.0, None)
    assert not any(each["violated"] for each in found["guardrails"])
    assert found["next_at"] >= canary.joined + CanarySettings().step_s


def running(http: FlaskClient) -> dict[str, Any]:
    found = http.get("/ml/canary").json
    assert found is not None
    assert found["running"] is not None
    return dict(found)


def test_its_exposures_are_counted(http: FlaskClient, both: Fakes) -> None:
    start(both)
    for user in range(1, 13):
        ask(http, user)
    until(
        lambda: (
            'recsys_canary_exposures_total{result="written"} 12.0'
            in http.get("/metrics").text
        )
    )


def test_user_lookups_follow_the_canary(http: FlaskClient, both: Fakes) -> None:
    canary = start(both)
    user, other = users_of(canary, "canary")[0], users_of(canary, "active")[0]
    ask(http, user)
    assert both.parts.preferred(str(user)) == OTHER
    assert both.parts.preferred(str(other)) is None
    assert both.parts.preferred("nobody") is None


def test_named_strict_and_earlier_requests_keep_their_release(
    http: FlaskClient, both: Fakes
) -> None:
    canary = start(both)
    user = users_of(canary, "canary")[0]
    assert ask(http, user, strict=True)["release"] == both.world.release
    assert ask(http, user, release=both.world.release)["release"] == both.world.release
    assert ask(http, user, timestamp=AT)["release"] == OTHER
    canarying(both).follow()
    assert [each.userid for each in both.store.exposed] in ([], [user])


def test_an_active_user_stays_with_the_active_release(
    http: FlaskClient, both: Fakes
) -> None:
    canary = start(both, joined=60.0)
    active, away = users_of(canary, "canary")[:2]
    assert ask(http, active)["release"] == both.world.release
    joined = canary.model_copy(update={"joined": time.time() - 1})
    both.canaries.state = both.canaries.state.model_copy(update={"running": joined})
    canarying(both).follow()
    assert ask(http, active)["release"] == both.world.release
    assert ask(http, away)["release"] == OTHER
    both.canaries.held.clear()  # away for a minute
    assert ask(http, active)["release"] == OTHER
    both.canaries.calls.clear()
    assert ask(http, active)["release"] == OTHER
    assert both.canaries.calls == []  # it is remembered


def test_a_held_user_stays_when_the_next_step_begins(
    http: FlaskClient, both: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    canary = start(both, joined=60.0, share=0.25)
    busy, joined = users_of(canary, "canary")[:2]
    ask(http, busy)
    both.canaries.state = both.canaries.state.model_copy(
        update={"running": canary.model_copy(update={"joined": time.time() - 1})}
    )
    canarying(both).follow()
    assert [ask(http, user)["release"] for user in (busy, joined)] == [
        both.world.release,
        OTHER,
    ]
    decided(both, monkeypatch, "advance")
    assert canarying(both).canary is not None
    assert canarying(both).canary.step == 1
    assert [ask(http, user)["release"] for user in (busy, joined)] == [
        both.world.release,
        OTHER,
    ]
    assert [both.parts.preferred(str(user)) for user in (busy, joined)] == [None, OTHER]
    both.down("redis")
    both.canaries.down = True
    assert ask(http, busy)["release"] == both.world.release
    assert ask(http, joined)["release"] == OTHER


def test_a_worker_that_has_not_loaded_it_counts_no_errors(
    http: FlaskClient, both: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that has just been started."""
    canary = start(both)
    loaded = both.recommender.releases.loaded
    monkeypatch.setattr(
        both.recommender.releases,
        "loaded",
        lambda release: None if release == OTHER else loaded(release),
    )
    user, other = users_of(canary, "canary")[0], users_of(canary, "active")[0]
    assert [ask(http, each)["release"] for each in (user, other)] == [
        both.world.release
    ] * 2
    canarying(both).follow()
    assert both.canaries.counts(canary)[0] == {}
    monkeypatch.setattr(hook, "LOADED_S", 0.0)  # it cannot be loaded
    ask(http, user)
    canarying(both).follow()
    assert both.canaries.counts(canary)[0]["canary:errors"] == 1


def test_likes_are_measured_on_a_thread_of_their_own(
    http: FlaskClient, both: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured, decided_on = [], []
    monkeypatch.setattr(
        hook, "likes_of", lambda *_: measured.append(1) or Likes(-0.5, -0.6, -0.4, 100)
    )
    monkeypatch.setattr(
        hook,
        "decide",
        lambda counts, *_: decided_on.append(counts.likes) or Decision("hold"),
    )
    canarying(both).measure()
    start(both)
    assert (measured, decided_on) == ([], [Likes()])
    for _ in range(2):
        canarying(both).measure()
        canarying(both).follow()
    assert len(measured) == 1
    assert decided_on[-1].users == 100
    both.canaries.update(lambda before: state.ended(before, before.running, "stopped"))
    start(both, new_id="two")
    assert decided_on[-1] == Likes()


def test_a_rollback_takes_effect_with_the_next_look(
    http: FlaskClient, both: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    canary = start(both)
    user = users_of(canary, "canary")[0]
    assert ask(http, user)["release"] == OTHER
    decided(both, monkeypatch, "roll back", "errors")
    assert ask(http, user)["release"] == both.world.release
    found = http.get("/ml/canary").json
    assert found is not None
    assert found["running"] is None
    assert (found["ended"][0]["verdict"], found["ended"][0]["reason"]) == (
        "rolled back",
        "errors",
    )
    assert canarying(both).note().startswith(f"canary of release {OTHER} rolled back")


def test_after_its_steps_it_is_activated(
    http: FlaskClient, both: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(both, share=0.2)
    for share in (0.25, 0.5):
        decided(both, monkeypatch, "advance")
        running = both.canaries.state.running
        assert running is not None
        assert running.share == share
        assert f"{share:.0%} of the users" in canarying(both).note()
        joined = running.model_copy(update={"joined": 0.0})
        both.canaries.state = both.canaries.state.model_copy(update={"running": joined})
    decided(both, monkeypatch, "advance")
    assert both.canaries.state.running is not None
    assert both.canaries.state.running.activating
    assert both.users.live_release != OTHER
    canarying(both).follow()
    assert both.users.live_release == OTHER
    assert both.canaries.state.ended[0].verdict == "activated"
    assert ask(http, 1)["release"] == OTHER


def test_without_feedback_the_last_step_waits_for_a_person(
    http: FlaskClient, both: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(both)
    decided(both, monkeypatch, "wait")
    assert running(http)["running"]["waiting"]
    assert f"make activate release={OTHER}" in running(http)["progress"]["next"]
    assert running(http)["progress"]["next_at"] is None
    assert f"make activate release={OTHER}" in canarying(both).note()
    both.users.activate(OTHER)
    canarying(both).follow()
    assert both.canaries.state.ended[0].verdict == "activated"


def test_others_activate_when_a_worker_is_killed_meanwhile(
    both: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(both)
    decided(both, monkeypatch, "advance")
    running = both.canaries.state.running
    assert running is not None
    assert running.activating
    both.users.activate(OTHER)  # by the worker that was killed then
    canarying(both).follow()
    assert (
        both.canaries.state.ended[0].verdict,
        both.canaries.state.ended[0].reason,
    ) == ("activated", "")


def test_another_activated_release_ends_it(http: FlaskClient, both: Fakes) -> None:
    start(both)
    both.users.live_release = "cccccccccccc"
    canarying(both).follow()
    assert both.canaries.state.ended[0].reason == "superseded"


def test_requests_are_answered_without_redis(http: FlaskClient, both: Fakes) -> None:
    canary = start(both)
    user, other = users_of(canary, "canary")[0], users_of(canary, "active")[0]
    first = {each: ask(http, each) for each in (user, other)}
    for name in ("redis", "elasticsearch", "feast", "triton"):
        both.down(name)
        both.canaries.down = name == "redis"
        for each, before in first.items():
            assert ask(http, each)["release"] == before["release"]
    both.down("redis")
    both.canaries.down = True
    unknown = users_of(canary, "canary")[1]  # unknown to this process: the popular list
    assert ask(http, unknown)["release"] == OTHER


def test_a_release_that_cannot_answer_counts_as_errors(
    http: FlaskClient, both: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hook, "LOADED_S", 0.0)
    canary = start(both)
    releases = both.recommender.releases
    loaded = releases.loaded
    monkeypatch.setattr(
        releases,
        "loaded",
        lambda release: None if release == OTHER else loaded(release),
    )
    answers = [ask(http, user) for user in users_of(canary, "canary")]
    assert {each["release"] for each in answers} == {both.world.release}
    canarying(both).follow()
    assert both.canaries.counts(canary)[0]["canary:errors"] == len(answers)


def test_a_deleted_release_ends_it(http: FlaskClient, both: Fakes) -> None:
    start(both)
    both.users.history.remove(OTHER)
    canarying(both).follow()
    assert both.canaries.state.running is None
    assert both.canaries.state.ended[0].reason == "deleted"


def test_plain_lists_are_compared_with_the_active_release(
    http: FlaskClient, both: Fakes
) -> None:
    canary = start(both)
    theirs = users_of(canary, "canary")
    answers = {user: ask(http, user) for user in theirs}
    overlap = 0
    for user, answer in answers.items():
        lists = [
            [item["itemid"] for item in each["item_list"][:10]]
            for each in (answer, ask(http, user, strict=True))
        ]
        overlap += 0 if "degraded" in answer else len(set(lists[0]) & set(lists[1]))
    for _ in theirs:
        canarying(both).follow()
    counts, _ = both.canaries.counts(canary)
    whole = sum("degraded" not in each for each in answers.values())
    assert (counts["compared"], counts["overlap"]) == (whole, overlap)


def test_compared_lists_are_requested_by_name(
    http: FlaskClient, both: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Since only plain requests are changed by what a user was shown before."""
    canary = start(both)
    ask(http, users_of(canary, "canary")[0])
    named: list[str | None] = []
    recommend = both.recommender.recommend
    monkeypatch.setattr(
        both.recommender,
        "recommend",
        lambda each: named.append(each.release) or recommend(each),
    )
    canarying(both).follow()
    assert named == [OTHER, both.world.release]


def answer(*scores: float, size: int = 0, **more: Any) -> Answer:
    items = [
        Item(itemid=number, title=f"film {number}", score=score)
        for number, score in enumerate(scores, 1)
    ]
    fields: dict[str, Any] = {
        "userid": 1,
        "release": OTHER,
        "recommendation": "r",
        "cold_start": False,
        "took_ms": {},
    }
    return Answer.model_construct(
        **{**fields, "item_list": items, "degraded": [], **more}
    )


@pytest.mark.parametrize(
    ("given", "names"),
    [
        (answer(0.9, 0.8, 0.7), []),
        (answer(0.9, 0.8), ["short"]),
        (answer(0.5, 0.5, 0.5), ["scores"]),
        (answer(0.5, 0.5, 0.5, cold_start=True), []),
        (answer(0.9, float("nan"), 0.7), ["scores"]),
        (
            answer(
                0.9,
                0.8,
                0.7,
                degraded=[Degradation.of(Outcome.NOT_RANKED, "triton", "fell")],
            ),
            ["degraded"],
        ),
        (
            answer(
                0.9,
                0.8,
                0.7,
                degraded=[Degradation.of(Outcome.NOT_RANKED, "triton", NOT_NUMBERS)],
            ),
            ["degraded", "scores"],
        ),
    ],
)
def test_problems_of_an_answer(given: Answer, names: list[str]) -> None:
    assert problems(given, 3, served=True) == names
    assert problems(given, 3, served=False) == ["errors", *names]


def test_an_item_under_another_id_is_wrong(both: Fakes) -> None:
    active = both.recommender.releases.active
    assert active is not None
    titles = Titles(active)
    shown = list(active.catalogue.values())[:3]

    def listed(*pairs: tuple[Any, str]) -> Answer:
        return answer(
            item_list=[Item(itemid=own, title=title, score=0.5) for own, title in pairs]
        )

    right = [(each.own_id, each.title) for each in shown]
    assert titles.agree(listed(*right))
    assert titles.agree(listed((99_999, "a new film")))
    assert not titles.agree(listed((shown[0].own_id, shown[1].title)))
    assert not titles.agree(listed((99_999, shown[1].title)))


def test_overlap_is_of_the_first_ten() -> None:
    one = answer(*[0.5] * 20)
    assert overlap_of(one, one) == 10
    assert overlap_of(one, answer(*[0.5] * 5)) == 5
    assert overlap_of(answer(), answer()) == 10
    assert Counter([overlap_of(one, answer())]) == {0: 1}
