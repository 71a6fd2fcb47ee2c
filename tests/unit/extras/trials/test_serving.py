"""Users are answered from their trial's releases, a canary is counted and followed, and what is shown is recorded."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from numpy.typing import NDArray

from data_exchange_center import wire
from data_exchange_center.settings import ServerSettings, Settings
from extras.trials import exposures, serving
from extras.trials.changes import end_canary, start_canary
from extras.trials.decision import CanarySettings, Decision, Likes
from extras.trials.exposures import Exposure, Sampler
from extras.trials.quality import DayRate, Drift, Report
from extras.trials.state import GROUPS, Canary, Experiment
from extras.trials.tally import Titles, overlap_of, problems
from online.clients.base import ServiceError
from online.clients.triton import NOT_NUMBERS
from online.main.s1_server import create_app
from online.recommend.outcomes import Degradation, Outcome
from online.recommend.types import Answer, Item
from tests.unit.extras.conftest import Fakes
from tests.unit.extras.document import conforms
from tests.unit.extras.events.test_routes import ask
from tests.unit.extras.questions.asking import ids
from tests.unit.online.world import AT, UNKNOWN_USER, DefaultWorld, World
from tests.waiting import until

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


def canary_of(fakes: Fakes, **more: Any) -> Canary:
    """Begin a canary that the process knows of."""
    given: dict[str, Any] = {
        "release": OTHER,
        "active": fakes.world.release,
        "published": dict.fromkeys((fakes.world.release, OTHER), fakes.world.dataset),
        "share": 0.5,
        "users": 10,
        "known": 10_000,
        "now": time.time(),
        "new_id": "one",
    }
    fakes.trials.update(lambda before: start_canary(before, **given | more))
    fakes.serving.follow()
    assert fakes.trials.state.canary is not None
    return fakes.trials.state.canary


def users_of(trial: Experiment | Canary, arm: str) -> list[int]:
    return [user for user in USERS if trial.arm_of(user) == arm]


def exposed(fakes: Fakes, count: int) -> list[Exposure]:
    until(lambda: len(fakes.trials.exposed) >= count)
    assert len(fakes.trials.exposed) == count
    return fakes.trials.exposed


def decided(
    fakes: Fakes, patch: pytest.MonkeyPatch, action: Any, reason: str = ""
) -> None:
    decision = Decision(action, reason, "in figures")
    patch.setattr(serving, "decide", lambda *_: decision)
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
    assert both.trials.exposed == []
    nothing = {"running": None, "ended": [], "progress": None}
    assert http.get("/ml/canary").json == nothing
    assert "notes" not in (http.get("/readyz").json or {})


# --- experiments


def test_users_are_answered_from_their_arms_in_one_round_trip(
    http: FlaskClient, both: Fakes
) -> None:
    experiment = start(both)
    both.users.calls.clear()
    users = (*both.world.userids, UNKNOWN_USER)
    answers = {userid: ask(http, userid) for userid in users}
    assert len(both.users.calls) == len(answers)
    assert len({answer["release"] for answer in answers.values()}) == 2
    logged = {each.userid: each for each in exposed(both, len(answers))}
    for userid, answer in answers.items():
        arm = experiment.arm_of(userid)
        assert arm is not None
        assert answer["release"] == experiment.release_of(arm)
        assert answer["experiments"] == [{"experiment": "ranker", "arms": [arm]}]
        assert ids(answer) == ids(ask(http, userid, release=answer["release"]))
        each = logged[userid]
        assert (each.arm, each.as_dealt) == (arm, True)
        assert each.recommendation == answer["recommendation"]
        assert each.release == answer["release"]
        assert each.items == tuple(ids(answer))


def test_after_a_stop_the_active_release_answers(
    http: FlaskClient, both: Fakes
) -> None:
    (userid, *_) = users_of(start(both), "treatment")
    assert ask(http, userid)["release"] == OTHER
    both.trials.stop("ranker")
    answer = ask(http, userid)
    assert answer["release"] == both.world.release
    assert "experiments" not in answer


@pytest.mark.parametrize(
    ("more", "is_eligible", "counts"),
    [
        ({}, True, True),
        ({"timestamp": AT}, True, False),
        ({"timestamp": AT, "experiments": True}, True, True),
        ({"history": [{"itemid": 4, "type": "rating", "value": 5}]}, True, False),
        ({"history": [], "experiments": True}, True, False),
        ({"experiments": False}, False, False),
        ({"strict": True}, False, False),
        ({"release": LIVE}, False, False),
    ],
)
@pytest.mark.parametrize("trial", ["experiment", "canary"])
def test_which_requests_take_part_and_which_count(
    http: FlaskClient,
    both: Fakes,
    trial: str,
    more: dict[str, Any],
    is_eligible: bool,
    counts: bool,
) -> None:
    started: Any = start(both) if trial == "experiment" else canary_of(both)
    arms = ("treatment", "control") if trial == "experiment" else GROUPS
    answer = ask(http, users_of(started, arms[0])[0], **more)
    assert answer["release"] == (OTHER if is_eligible else both.world.release)
    assert ("experiments" in answer) == (is_eligible and trial == "experiment")
    # which counts: those before it are written by then
    ask(http, users_of(started, arms[1])[0])
    exposed(both, int(counts) + 1)


def test_a_cross_site_or_keyless_read_is_no_exposure(
    both: Fakes, http: FlaskClient
) -> None:
    experiment = start(both)
    (userid, *_) = users_of(experiment, "treatment")
    open_settings = ServerSettings(
        proxies=1, keys_for="writes", allowed_hosts="localhost"
    )
    app = create_app(both.recommender, Settings(server=open_settings), both.stores)
    app.extensions["trials"].follow()
    assert ask(app.test_client(), userid)["release"] == OTHER
    headers = {"Sec-Fetch-Site": "cross-site"}
    cross = http.post("/ml/rec", json={"userid": userid}, headers=headers)
    assert cross.status_code == 200
    ask(http, users_of(experiment, "control")[0])
    exposed(both, 1)


def test_an_arm_without_its_release_gets_the_active_one(
    http: FlaskClient, both: Fakes
) -> None:
    (userid, *_) = users_of(start(both), "treatment")
    for service in both.services:
        del service.worlds[OTHER]
    both.users.history.remove(OTHER)
    both.follow()
    answer = ask(http, userid)
    assert answer["release"] == both.world.release
    assert "degraded" not in answer
    (logged,) = exposed(both, 1)
    assert (logged.arm, logged.as_dealt) == ("treatment", False)
    assert logged.release == both.world.release


@pytest.mark.parametrize("away", ["redis", "triton", "elasticsearch", "feast"])
@pytest.mark.parametrize("trial", ["experiment", "canary"])
def test_without_a_service_the_arm_still_answers(
    http: FlaskClient, both: Fakes, away: str, trial: str
) -> None:
    if trial == "experiment":
        (userid, *_) = users_of(start(both), "treatment")
    else:
        (userid, *_) = users_of(canary_of(both), "canary")
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
    for arm in experiment.arms:
        (userid, *_) = users_of(experiment, arm)
        why = http.get(f"/ml/why-not?userid={userid}&itemid=4").json
        ranked = http.post("/ml/rank", json={"userid": userid, "candidates": [3, 4]})
        for found in (why, ranked.json):
            assert found["release"] == experiment.release_of(arm)
    assert both.parts.preferred("nobody") is None


def test_an_experiment_over_another_data_set_is_empty(
    http: FlaskClient, both: Fakes
) -> None:
    (userid, *_) = users_of(start(both), "treatment")
    elsewhere = type(both.world)(release="cccccccccccc", name="another")
    both.publish(elsewhere)
    both.users.live_release = elsewhere.release
    both.follow()
    answer = ask(http, userid)
    assert answer["release"] == elsewhere.release
    assert "experiments" not in answer
    assert both.parts.preferred(f"{userid}") is None
    exposed(both, 0)


def test_one_is_started_looked_up_and_stopped(with_a_key: FlaskClient) -> None:
    arms = {"control": {"release": LIVE}, "same": {"release": LIVE, "weight": 3}}
    body = {"name": "ranker", "arms": arms}
    assert with_a_key.get("/ml/experiments").json == {"experiments": []}
    started = with_a_key.post("/ml/experiments", json=body)
    assert started.status_code == 200, started.text
    conforms(started.json, "ExperimentView")
    assert [arm["share"] for arm in started.json["arms"]] == [0.25, 0.75]
    there = with_a_key.get("/ml/experiments").json
    conforms(there, "ExperimentsView")
    assert there == {"experiments": [started.json]}
    again = with_a_key.post("/ml/experiments", json=body)
    assert again.status_code == 400
    over = with_a_key.post("/ml/experiments/ranker/stop").json
    assert over["stopped"] is not None
    assert with_a_key.get("/ml/experiments").json == {"experiments": [over]}


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"name": None}, "name"),
        ({"arms": {}}, "arms"),
        ({"buckets": []}, "buckets"),
        ({"kind": "interleaved"}, "kind"),
        ({"arms": {"a": {"release": LIVE}, "b": {"release": "f" * 12}}}, "arms"),
    ],
)
def test_an_invalid_declaration_is_refused(
    with_a_key: FlaskClient, more: dict[str, Any], field: str
) -> None:
    arms = {"control": {"release": LIVE}, "same": {"release": LIVE}}
    body = {"name": "ranker", "arms": arms, **more}
    answer = with_a_key.post("/ml/experiments", json=body)
    assert answer.status_code == 400
    assert answer.json["error"]["field"] == field


# --- canaries


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
    both.serving.follow()
    counts, users = both.trials.counts(canary)
    assert users == {group: counts[f"{group}:requests"] for group in GROUPS}
    assert counts["active:requests"] == len(users_of(canary, "active"))
    assert both.trials.answered["one", 0, "canary"] == set(theirs)
    assert not {name for name in counts if name.endswith(("errors", "scores", "wrong"))}
    written = 'recsys_canary_exposures_total{result="written"} 12.0'
    until(lambda: written in http.get("/metrics").text)


def test_a_canarys_progress_is_reported(http: FlaskClient, both: Fakes) -> None:
    canary = canary_of(both)
    both.serving._likes = "one", Likes(-0.1, -0.4, 0.2, 300, canary=40, active=50)
    for user in USERS:
        ask(http, user)
    both.serving.follow()
    report = http.get("/ml/canary").json
    conforms(report, "CanaryReport")
    found = report["progress"]
    groups = {each["group"]: each for each in found["groups"]}
    for name, group in groups.items():
        count = len(users_of(canary, name))
        assert (group["users"], group["requests"], group["errors"]) == (count, count, 0)
        assert group["release"] == canary.release_of(name)
    assert (groups["canary"]["likes"], groups["active"]["likes"]) == (40, 50)
    assert found["likes_low"] == -0.4
    assert groups["active"]["p99_ms"] >= groups["active"]["p50_ms"] > 0
    bounds = {each["name"]: each for each in found["guardrails"]}
    order = "scores errors wrong short degraded latency distance likes"
    assert list(bounds) == order.split()
    likes, errors = bounds["likes"], bounds["errors"]
    assert (likes["value"], likes["certain"], likes["bound"]) == (-0.1, 0.2, -0.03)
    assert (errors["value"], errors["certain"]) == (0.0, None)
    assert not any(each["violated"] for each in found["guardrails"])
    assert found["next_at"] >= canary.joined + CanarySettings().step_s


def test_a_worker_that_has_not_loaded_it_counts_no_errors(
    http: FlaskClient, both: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that has just been started; after a minute it counts each."""
    canary = canary_of(both)
    releases = both.recommender.releases
    loaded: Callable[[str], Any] = releases.loaded
    monkeypatch.setattr(
        releases, "loaded", lambda each: None if each == OTHER else loaded(each)
    )
    for user in USERS:
        assert ask(http, user)["release"] == both.world.release
    both.serving.follow()
    assert both.trials.counts(canary)[0] == {}
    monkeypatch.setattr(serving, "LOADED_S", 0.0)
    theirs = users_of(canary, "canary")
    for user in theirs:
        assert ask(http, user)["release"] == both.world.release
    both.serving.follow()
    assert both.trials.counts(canary)[0]["canary:errors"] == len(theirs)


def test_a_request_that_raises_counts_as_an_error(
    http: FlaskClient, both: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    canary = canary_of(both)
    (user, *_) = users_of(canary, "canary")
    http.post("/ml/rec", json={"userid": user, "size": 0})

    def fail(*_: Any) -> Any:
        raise ServiceError("redis", "is away")

    with monkeypatch.context() as patch:
        patch.setattr(both.recommender, "recommend", fail)
        assert http.post("/ml/rec", json={"userid": user}).status_code == 503
    both.serving.follow()
    counts, _ = both.trials.counts(canary)
    assert counts == {"canary:requests": 1, "canary:errors": 1}


def test_likes_are_measured_now_and_then(
    http: FlaskClient, both: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    exposures = both.trials.exposures

    def logged(trial: str, since_ms: int) -> Any:
        read.append(trial)
        return exposures(trial, since_ms)

    monkeypatch.setattr(both.trials, "exposures", logged)
    both.serving.measure()
    canary = canary_of(both)
    for _ in range(2):
        both.serving.measure()
    assert read == [canary.name]
    both.serving._likes = "one", Likes(users=100)
    assert both.serving._counts(canary, 0.0).likes.users == 100
    both.trials.update(lambda before: end_canary(before, canary, "stopped", now=1.0))
    another = canary_of(both, new_id="two")
    assert both.serving._counts(another, 0.0).likes == Likes()


def test_a_rollback_takes_effect_with_the_next_look(
    http: FlaskClient, both: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    (user, *_) = users_of(canary_of(both), "canary")
    assert ask(http, user)["release"] == OTHER
    decided(both, monkeypatch, "roll back", "errors")
    assert ask(http, user)["release"] == both.world.release
    found = http.get("/ml/canary").json
    assert found is not None
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
    assert both.trials.state.canary.activating
    assert both.users.live_release != OTHER
    if by_another_worker:
        both.users.activate(OTHER)
    both.serving.follow()
    assert both.users.live_release == OTHER
    last = both.trials.state.ended[0]
    assert (last.verdict, last.reason) == ("activated", "")
    assert ask(http, 1)["release"] == OTHER


def test_without_feedback_the_last_step_waits_for_a_person(
    http: FlaskClient, both: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    canary_of(both)
    decided(both, monkeypatch, "wait")
    found = http.get("/ml/canary").json
    assert found is not None
    assert found["running"]["waiting"]
    assert found["progress"]["next_at"] is None
    for text in (found["progress"]["next"], both.serving.note()):
        assert f"make activate release={OTHER}" in text
    both.users.activate(OTHER)
    both.serving.follow()
    assert both.trials.state.ended[0].verdict == "activated"


def test_other_releases_end_a_canary(http: FlaskClient, both: Fakes) -> None:
    canary_of(both)
    both.users.live_release = "cccccccccccc"
    both.serving.follow()
    assert both.trials.state.ended[0].reason == "superseded"
    both.users.live_release = both.world.release
    canary_of(both, new_id="two")
    both.users.history.remove(OTHER)
    both.serving.follow()
    assert both.trials.state.ended[0].reason == "deleted"


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
        both.serving.follow()
    counts, _ = both.trials.counts(canary)
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
    titles = Titles(active)
    first, second = list(active.catalogue.values())[:2]

    def agrees(own: Any, title: str) -> bool:
        item = Item(itemid=own, title=title, score=0.5)
        return titles.agree(answer(item_list=[item]))

    assert agrees(first.own_id, first.title)
    assert agrees(99_999, "a new film")
    assert not agrees(first.own_id, second.title)
    assert not agrees(99_999, second.title)


@pytest.mark.parametrize(
    ("one", "other", "overlap"), [(20, 20, 10), (20, 5, 5), (0, 0, 10), (20, 0, 0)]
)
def test_overlap_is_of_the_first_ten(one: int, other: int, overlap: int) -> None:
    assert overlap_of(answer(*[0.5] * one), answer(*[0.5] * other)) == overlap


# --- quality over time


@pytest.fixture
def sampled(fakes: Fakes, http: FlaskClient) -> Fakes:
    """Every plain answer is recorded."""
    fakes.serving._sampler = Sampler(1_000)
    return fakes


def recorded(fakes: Fakes, count: int) -> list[Exposure]:
    until(lambda: len(fakes.trials.sampled) >= count)
    assert len(fakes.trials.sampled) == count
    return fakes.trials.sampled


def test_a_plain_answer_is_recorded(http: FlaskClient, sampled: Fakes) -> None:
    unknown, answer = ask(http, UNKNOWN_USER), ask(http, 1)
    first, exposure = recorded(sampled, 2)
    assert (exposure.userid, exposure.release) == (1, answer["release"])
    assert exposure.items == tuple(ids(answer))
    assert exposure.score == answer["item_list"][0]["score"]
    assert exposure.experiment == ""
    assert (first.recommendation, first.score) == (unknown["recommendation"], None)
    assert sampled.trials.exposed == []


@pytest.mark.parametrize(
    "more",
    [
        {"timestamp": 1_000_000_000},
        {"strict": True},
        {"explain": True},
        {"history": []},
        {"release": LIVE},
        {"query": "toy"},
        {"cursor": True},
    ],
)
def test_requests_for_another_purpose_are_not_recorded(
    http: FlaskClient, sampled: Fakes, more: dict[str, Any]
) -> None:
    ask(http, 2, **more)
    ask(http, 1)
    assert [each.userid for each in recorded(sampled, 1)] == [1]


def test_a_degraded_list_has_no_score(http: FlaskClient, sampled: Fakes) -> None:
    sampled.scorer.down = True
    ask(http, 1)
    assert recorded(sampled, 1)[0].score is None


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


def test_the_report_is_shown_and_in_the_metrics(
    http: FlaskClient, fakes: Fakes
) -> None:
    rates = [
        DayRate(release=OTHER, day="2026-01-01", lists=10, hits=1),
        DayRate(release=OTHER, day="2026-01-02", lists=10, hits=4),
    ]
    drift = [Drift(feature="age", psi=0.31, values=500)]
    report = Report(release=OTHER, made=1, window_s=60, hit_rates=rates, drift=drift)
    fakes.trials.found = report
    fakes.serving._report_at = 0.0
    fakes.serving.read_report()
    found = http.get("/ml/quality").json
    conforms(found, "Report")
    assert Report.model_validate(found) == report
    page = http.get("/metrics").text
    assert f'recsys_hit_rate{{release="{OTHER}"}} 0.25' in page
    assert f'recsys_drift_psi{{feature="age",release="{OTHER}"}} 0.31' in page


def test_a_redis_that_is_away_is_not_read_at_once_again(fakes: Fakes) -> None:
    fakes.trials.down = True
    fakes.serving._report_at = 0.0
    with pytest.raises(ServiceError):
        fakes.serving.read_report()
    assert fakes.serving.read_report()
