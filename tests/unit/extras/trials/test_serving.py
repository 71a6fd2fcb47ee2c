"""Users are answered from their trial's releases, a canary is counted and followed, and what is shown is recorded."""

from __future__ import annotations

from functools import cached_property
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from numpy.typing import NDArray

from data_exchange_center import wire
from data_exchange_center.settings import ServerSettings, Settings
from extras.trials import exposures, serving
from extras.trials.always_valid import Interval
from extras.trials.changes import start_canary
from extras.trials.decision import Decision, bucket_of
from extras.trials.exposures import Exposure, Sampler
from extras.trials.quality import DayRate, Drift, Report
from extras.trials.state import GROUPS, Canary, Experiment
from extras.trials.tally import (
    FIRST,
    Tally,
    is_wrong,
    problems,
)
from online.clients.base import ServiceError
from online.clients.triton import NOT_NUMBERS
from online.main.s1_server import create_app
from online.recommend import types
from online.recommend.outcomes import Degradation, Outcome
from online.recommend.types import Answer, Item
from tests.unit.extras.asking import conforms, ids
from tests.unit.extras.conftest import Fakes
from tests.unit.extras.events.test_routes import ask
from tests.unit.online.world import AT, UNKNOWN_USER, DefaultWorld, World

OTHER = "bbbbbbbbbbbb"
LIVE = DefaultWorld().release
USERS = range(1, 13)


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
    """The live release, and another one that is loaded, too. Nothing is sampled."""
    other = type(fakes.world)(release=OTHER, model=wire.MODEL, model_version=2, seed=7)
    fakes.publish(other)
    fakes.serving._sampler = Sampler(0)
    return fakes


def start(fakes: Fakes, **given: Any) -> Experiment:
    return fakes.trials.run("ranker", fakes.world.release, OTHER, **given)


def canary_of(fakes: Fakes, share: float = 0.5) -> Canary:
    """Begin a canary that the process knows of."""
    published = dict.fromkeys((LIVE, OTHER), fakes.world.dataset)
    before = fakes.trials.state
    found = start_canary(before, OTHER, LIVE, published, share=share, requests=10)
    assert found.canary is not None
    # always the same users
    canary = found.canary.model_copy(update={"name": "one"})
    fakes.trials.state = found.model_copy(update={"canary": canary})
    fakes.serving.follow()
    return canary


def begun(fakes: Fakes, kind: str) -> tuple[Experiment | Canary, int]:
    """An experiment or a canary, and a user that it answers from the other release."""
    trial = start(fakes) if kind == "experiment" else canary_of(fakes)
    return trial, next(user for user in USERS if released(trial, user) == OTHER)


def released(trial: Experiment | Canary, user: int) -> str:
    arm = trial.arm_of(user)
    return trial.release_of(arm) if arm else LIVE


def users_of(trial: Experiment | Canary, arm: str) -> list[int]:
    return [user for user in USERS if trial.arm_of(user) == arm]


def exposed(fakes: Fakes, count: int) -> list[Exposure]:
    fakes.serving.exposures.flush()
    assert len(fakes.trials.exposed) == count
    return fakes.trials.exposed


def counted(fakes: Fakes, canary: Canary) -> dict[str, int]:
    """All counts, once the process has added its own."""
    fakes.serving.follow()
    return fakes.trials.counted(canary, {})


def decided(
    fakes: Fakes, patch: pytest.MonkeyPatch, action: Any, reason: str = ""
) -> None:
    decision = Decision(action, reason, "in figures")
    patch.setattr(serving, "decide", lambda *_, last: decision)
    fakes.serving.follow()


def test_without_a_trial_nothing_is_read_added_or_logged(
    http: FlaskClient, both: Fakes
) -> None:
    for fake in (both.users, both.trials):
        fake.calls.clear()
    answer = ask(http)
    assert answer["release"] == both.world.release
    assert "experiments" not in answer
    assert (len(both.users.calls), both.trials.calls) == (1, [])
    nothing = {"running": None, "ended": [], "progress": None}
    assert http.get("/ml/canary").json == nothing
    assert "notes" not in (http.get("/readyz").json or {})


def test_users_are_answered_from_their_arms_in_one_round_trip(
    http: FlaskClient, both: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    # scores depend on the second of the request, and each list is asked for twice
    monkeypatch.setattr(types, "time", SimpleNamespace(time=lambda: AT + 86_400))
    experiment = start(both)
    both.users.calls.clear()
    users = (*both.world.userids, UNKNOWN_USER)
    answers = {userid: ask(http, userid) for userid in users}
    assert len(both.users.calls) == len(answers)
    assert len({answer["release"] for answer in answers.values()}) == 2
    logged = {each.userid: each for each in exposed(both, len(answers))}
    for userid, answer in answers.items():
        arm, each = experiment.arm_of(userid), logged[userid]
        assert answer["release"] == released(experiment, userid)
        assert answer["experiments"] == {"ranker": arm}
        assert ids(answer) == ids(ask(http, userid, release=answer["release"]))
        assert (each.arm, each.release) == (arm, answer["release"])
        assert each.recommendation == answer["recommendation"]
        assert each.items == tuple(ids(answer))
    both.trials.stop("ranker")
    (userid, *_) = users_of(experiment, "treatment")
    after = ask(http, userid)
    assert (after["release"], "experiments" in after) == (both.world.release, False)


@pytest.mark.parametrize(
    ("more", "is_eligible", "counts", "is_sampled"),
    [
        ({}, True, True, True),
        ({"timestamp": AT}, True, False, False),
        ({"history": []}, True, False, False),
        ({"experiments": False}, False, False, False),
        ({"strict": True}, False, False, False),
        ({"release": LIVE}, False, False, False),
        ({"explain": True}, True, True, False),
    ],
)
@pytest.mark.parametrize("trial", ["experiment", "canary"])
def test_which_requests_take_part_count_and_are_sampled(
    http: FlaskClient,
    both: Fakes,
    trial: str,
    more: dict[str, Any],
    is_eligible: bool,
    counts: bool,
    is_sampled: bool,
) -> None:
    both.serving._sampler = Sampler(1_000)
    _, user = begun(both, trial)
    answer = ask(http, user, **more)
    assert answer["release"] == (OTHER if is_eligible else both.world.release)
    assert ("experiments" in answer) == (is_eligible and trial == "experiment")
    exposed(both, int(counts))
    assert len(both.trials.sampled) == is_sampled


def test_a_cross_site_or_keyless_read_is_no_exposure(
    both: Fakes, http: FlaskClient
) -> None:
    _, userid = begun(both, "experiment")
    open_settings = ServerSettings(
        proxies=1, keys_for="writes", allowed_hosts="localhost"
    )
    app = create_app(both.recommender, Settings(server=open_settings), both.stores)
    app.extensions["trials"].follow()
    assert ask(app.test_client(), userid)["release"] == OTHER
    headers = {"Sec-Fetch-Site": "cross-site"}
    cross = http.post("/ml/rec", json={"userid": userid}, headers=headers)
    assert cross.status_code == 200
    ask(http, userid)
    exposed(both, 1)


def test_an_arm_without_its_release_gets_the_active_one(
    http: FlaskClient, both: Fakes
) -> None:
    _, userid = begun(both, "experiment")
    for service in both.services:
        del service.worlds[OTHER]
    both.users.history.remove(OTHER)
    both.follow()
    answer = ask(http, userid)
    assert answer["release"] == both.world.release
    assert "degraded" not in answer
    (logged,) = exposed(both, 1)
    assert (logged.arm, logged.release) == ("treatment", both.world.release)


@pytest.mark.parametrize("away", ["redis", "triton", "elasticsearch", "feast"])
@pytest.mark.parametrize("trial", ["experiment", "canary"])
def test_without_a_service_the_arm_still_answers(
    http: FlaskClient, both: Fakes, away: str, trial: str
) -> None:
    _, userid = begun(both, trial)
    before = ask(http, userid)
    both.down(away)
    both.trials.down = away == "redis"
    answer = ask(http, userid)
    assert answer["release"] == OTHER
    if away == "redis":  # from the state last known, which is the arm's
        assert ids(answer) == ids(before)
        assert answer["degraded"][0]["instead"] == "last_state"


def test_other_questions_are_answered_by_the_users_arm(
    http: FlaskClient, both: Fakes
) -> None:
    experiment = start(both)
    for userid in USERS:
        why = http.get(f"/ml/why-not?userid={userid}&itemid=4").json
        ranked = http.post("/ml/rank", json={"userid": userid, "candidates": [3, 4]})
        for found in (why, ranked.json):
            assert found["release"] == released(experiment, userid)
    assert both.parts.preferred("nobody") is None


# --- canaries


def test_likes_are_measured_now_and_then(
    http: FlaskClient, both: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    monkeypatch.setattr(
        both.trials, "exposures", lambda trial, _: read.append(trial) or ()
    )
    both.serving.measure()
    canary = canary_of(both)
    for _ in range(2):
        both.serving.measure()
    assert read == [canary.name]


def test_a_share_of_the_users_gets_the_canary_and_is_counted(
    http: FlaskClient, both: Fakes
) -> None:
    canary = canary_of(both)
    theirs = users_of(canary, "canary")
    answers = {user: ask(http, user) for user in USERS}
    got_it = [user for user, each in answers.items() if each["release"] == OTHER]
    assert got_it == theirs
    for user in theirs:
        assert ids(answers[user]) == ids(ask(http, user, release=OTHER))
        assert both.parts.preferred(str(user)) == OTHER
    counts = counted(both, canary)
    for group in GROUPS:
        assert counts[f"{group}:requests"] == len(users_of(canary, group))
    assert not {name for name in counts if name.endswith(("errors", "scores", "wrong"))}
    exposed(both, len(USERS))


def test_a_canarys_progress_is_reported(http: FlaskClient, both: Fakes) -> None:
    canary = canary_of(both)
    both.serving._tally.likes = Interval(-0.1, -0.4, 0.2)
    for user in USERS:
        ask(http, user)
    both.serving.follow()
    report = http.get("/ml/canary").json
    conforms(report, "CanaryReport")
    found = report["progress"]
    requests = {group: len(users_of(canary, group)) for group in GROUPS}
    assert found["requests"] == requests
    bounds = {each["name"]: each for each in found["guardrails"]}
    order = "scores errors wrong short degraded latency distance likes"
    assert list(bounds) == order.split()
    of_likes, errors = bounds["likes"], bounds["errors"]
    shown = (of_likes["value"], of_likes["certain"], of_likes["bound"])
    assert shown == (0.1, -0.2, 0.03)
    assert (errors["value"], errors["certain"]) == (0.0, None)


def test_a_worker_that_has_not_loaded_it_counts_no_errors(
    http: FlaskClient, both: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that has just been started; after a minute it counts each."""
    canary = canary_of(both)
    releases = both.recommender.releases
    others = {name: each for name, each in releases.loaded.items() if name != OTHER}
    monkeypatch.setattr(releases, "loaded", others)
    for user in USERS:
        assert ask(http, user)["release"] == both.world.release
    assert counted(both, canary) == {}
    monkeypatch.setattr(serving, "LOADED_S", 0.0)
    theirs = users_of(canary, "canary")
    for user in theirs:
        assert ask(http, user)["release"] == both.world.release
    assert counted(both, canary)["canary:errors"] == len(theirs)


def test_a_request_that_raises_counts_as_an_error(
    http: FlaskClient, both: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    canary, user = begun(both, "canary")
    assert isinstance(canary, Canary)
    http.post("/ml/rec", json={"userid": user, "size": 0})

    def fail(*_: Any) -> Any:
        raise ServiceError("redis", "is away")

    with monkeypatch.context() as patch:
        patch.setattr(both.recommender, "recommend", fail)
        assert http.post("/ml/rec", json={"userid": user}).status_code == 503
    assert counted(both, canary) == {"canary:requests": 1, "canary:errors": 1}


def test_a_rollback_takes_effect_with_the_next_look(
    http: FlaskClient, both: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, user = begun(both, "canary")
    assert ask(http, user)["release"] == OTHER
    decided(both, monkeypatch, "roll back", "errors")
    assert ask(http, user)["release"] == both.world.release
    found: Any = http.get("/ml/canary").json
    assert found["running"] is None
    last = found["ended"][0]
    assert (last["verdict"], last["reason"]) == ("rolled back", "errors")
    assert both.serving.note().startswith(f"canary of release {OTHER} rolled back")


@pytest.mark.parametrize("by_another_worker", [False, True])
def test_a_canary_that_holds_is_activated_in_the_end(
    http: FlaskClient,
    both: Fakes,
    monkeypatch: pytest.MonkeyPatch,
    by_another_worker: bool,
) -> None:
    """Also where the worker that has moved the pointer was killed then."""
    canary_of(both, share=0.2)
    for share in (0.25, 0.5):
        decided(both, monkeypatch, "advance")
        assert both.trials.state.canary is not None
        assert both.trials.state.canary.share == share
        assert f"{share:.0%} of the users" in both.serving.note()
    decided(both, monkeypatch, "advance")
    assert both.users.live_release != OTHER
    if by_another_worker:
        both.users.activate(OTHER)
    for _ in range(2):
        both.serving.follow()
    assert both.users.live_release == OTHER
    last = both.trials.state.ended[0]
    assert (last.verdict, last.reason) == ("activated", "")
    assert ask(http, 1)["release"] == OTHER


def test_plain_lists_are_compared_by_name_with_the_active_release(
    http: FlaskClient, both: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By name, since only plain requests are changed by what a user was shown before."""
    canary = canary_of(both)
    answers = [ask(http, user) for user in users_of(canary, "canary")]
    whole = [each for each in answers if "degraded" not in each]
    overlap = 0
    for each in whole:
        active = ask(http, each["userid"], strict=True)
        overlap += len(set(ids(each)[:10]) & set(ids(active)[:10]))
    recommend = both.recommender.recommend
    named: list[str | None] = []
    monkeypatch.setattr(
        both.recommender,
        "recommend",
        lambda each: named.append(each.release) or recommend(each),
    )
    for _ in answers:
        counts = counted(both, canary)
    assert (counts["compared"], counts["overlap"]) == (len(whole), overlap)
    assert named == [OTHER, both.world.release] * len(whole)


# --- what a canary's answers count against


def answer(*scores: float, **more: Any) -> Answer:
    items = [
        Item(itemid=number, title=f"film {number}", score=score)
        for number, score in enumerate(scores, 1)
    ]
    fields = {"item_list": items, "degraded": [], "cold_start": False, **more}
    return Answer.model_construct(**fields)


def lacking(reason: str) -> list[Degradation]:
    return [Degradation.of(Outcome.NOT_RANKED, "triton", reason)]


@pytest.mark.parametrize(
    ("given", "names"),
    [
        (answer(0.9, 0.8, 0.7), []),
        (answer(0.9, 0.8), ["short"]),
        (answer(0.5, 0.5, 0.5), ["scores"]),
        (answer(0.5, 0.5, 0.5, cold_start=True), []),
        (answer(0.9, float("nan"), 0.7), ["scores"]),
        (answer(0.9, 0.8, 0.7, degraded=lacking("fell")), ["degraded"]),
        (answer(0.9, 0.8, 0.7, degraded=lacking(NOT_NUMBERS)), ["degraded", "scores"]),
    ],
)
def test_problems_of_an_answer(given: Answer, names: list[str]) -> None:
    assert problems(given, 3, served=True) == names
    assert problems(given, 3, served=False) == ["errors", *names]


def test_an_item_under_another_id_is_wrong(both: Fakes) -> None:
    active = both.recommender.releases.active
    assert active is not None
    first, second = list(active.catalogue.values())[:2]
    for own, title, wrong in (
        (first.own_id, first.title, False),
        (99_999, "a new film", False),
        (first.own_id, second.title, True),
    ):
        item = Item(itemid=own, title=title, score=0.5)
        assert is_wrong(answer(item_list=[item]), active) == wrong


# --- quality over time


def test_only_so_many_lists_are_recorded_a_second(
    fakes: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(exposures.time, "monotonic", lambda: now)
    request = fakes.parts.request_model.model_validate({"userid": 1})
    sampler = Sampler(2)
    assert [sampler.takes(request) for _ in range(4)] == [True, True, False, False]
    now = 101.0
    assert sampler.takes(request)
    assert not Sampler(0).takes(request)


def test_the_report_is_shown(http: FlaskClient, fakes: Fakes) -> None:
    rates = [
        DayRate(release=OTHER, day="2026-01-01", lists=10, hits=1),
        DayRate(release=OTHER, day="2026-01-02", lists=10, hits=4),
    ]
    drift = [Drift(feature="age", psi=0.31, values=500)]
    report = Report(release=OTHER, made=1, window_s=60, hit_rates=rates, drift=drift)
    fakes.trials.found = report
    fakes.serving.read_report()
    found = http.get("/ml/quality").json
    conforms(found, "Report")
    assert Report.model_validate(found) == report


def test_the_canarys_first_times_do_not_count() -> None:
    tally = Tally()
    for group in GROUPS:
        for _ in range(FIRST + 1):
            tally.count(group, [], 40.0)
    counts = tally.taken()
    timed = [counts[f"{group}:<{bucket_of(40.0)}"] for group in GROUPS]
    assert timed == [1, FIRST + 1]
    assert counts["canary:requests"] == FIRST + 1
