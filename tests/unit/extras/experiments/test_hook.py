from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import pytest
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st

from data_exchange_center import wire
from data_exchange_center.settings import ServerSettings, Settings
from extras.experiments.declaration import Experiment, arm_of
from extras.experiments.hook import team_draft
from extras.experiments.store import FIRST, NEITHER, SECOND, Exposure
from online.main.s1_server import create_app
from tests.unit.extras.conftest import Fakes
from tests.unit.extras.document import conforms
from tests.unit.extras.events.test_routes import ask
from tests.unit.extras.questions.asking import ids
from tests.unit.online.world import AT, UNKNOWN_USER, DefaultWorld, World
from tests.waiting import until

OTHER = "bbbbbbbbbbbb"


@pytest.fixture
def kind() -> type[World]:
    return DefaultWorld


@pytest.fixture
def both(fakes: Fakes, http: FlaskClient) -> Fakes:
    """The live release, and another one that is open, too."""
    fakes.add(
        type(fakes.world)(release=OTHER, model=wire.MODEL, model_version=2, seed=7)
    )
    fakes.users.history.append(OTHER)
    fakes.follow()
    return fakes


def start(
    http: FlaskClient, fakes: Fakes, control: str | None = None, **given: Any
) -> Experiment:
    """Start one, of which the process hears by a request that takes no part."""
    experiment = fakes.store.run(
        "ranker", control or fakes.world.release, OTHER, **given
    )
    ask(http, experiments=False)
    return experiment


def exposed(fakes: Fakes, count: int) -> list[Exposure]:
    until(lambda: len(fakes.store.exposed) >= count)
    assert len(fakes.store.exposed) == count
    return fakes.store.exposed


def user_in(experiment: Experiment, arm: str) -> int:
    return next(userid for userid in range(1, 13) if arm_of(experiment, userid) == arm)


def test_without_an_experiment_nothing_is_added_or_logged(
    http: FlaskClient, both: Fakes
) -> None:
    both.users.calls.clear()
    assert "experiments" not in ask(http)
    assert len(both.users.calls) == 1
    assert both.store.exposed == []


def test_users_are_answered_from_their_arms_in_one_round_trip(
    http: FlaskClient, both: Fakes
) -> None:
    experiment = start(http, both)
    both.users.calls.clear()
    answers = {
        userid: ask(http, userid) for userid in (*both.world.userids, UNKNOWN_USER)
    }
    assert len(both.users.calls) == len(answers)
    for userid, answer in answers.items():
        arm = arm_of(experiment, userid)
        assert answer["release"] == experiment.arms[arm].release
        assert answer["experiments"] == [{"experiment": "ranker", "arms": [arm]}]
        assert ids(answer) == ids(ask(http, userid, release=answer["release"]))
    assert len({answer["release"] for answer in answers.values()}) == 2
    logged = {each.userid: each for each in exposed(both, len(answers))}
    for userid, answer in answers.items():
        each = logged[userid]
        assert (each.recommendation, each.release) == (
            answer["recommendation"],
            answer["release"],
        )
        assert each.items == tuple(ids(answer))
        assert (each.arm, each.as_dealt, each.teams) == (
            arm_of(experiment, userid),
            True,
            "",
        )


def test_a_stop_is_heard_of_with_the_next_request(
    http: FlaskClient, both: Fakes
) -> None:
    experiment = start(http, both)
    userid = user_in(experiment, "treatment")
    assert ask(http, userid)["release"] == OTHER
    both.store.stop("ranker")
    ask(http)
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
        ({"release": DefaultWorld().release}, False, False),
    ],
)
def test_which_requests_take_part_and_which_count(
    http: FlaskClient,
    both: Fakes,
    more: dict[str, Any],
    is_eligible: bool,
    counts: bool,
) -> None:
    experiment = start(http, both)
    answer = ask(http, user_in(experiment, "treatment"), **more)
    assert answer["release"] == (OTHER if is_eligible else both.world.release)
    assert ("experiments" in answer) == is_eligible
    ask(
        http, user_in(experiment, "control")
    )  # which counts: those before it are written by then
    exposed(both, int(counts) + 1)


def test_a_cross_site_or_keyless_read_is_no_exposure(
    both: Fakes, http: FlaskClient
) -> None:
    experiment = start(http, both)
    userid = user_in(experiment, "treatment")
    stores = both.stores
    settings = Settings(
        server=ServerSettings(proxies=1, keys_for="writes", allowed_hosts="localhost")
    )
    open_to_all = create_app(both.recommender, settings, stores).test_client()
    assert ask(open_to_all, userid)["release"] == OTHER
    cross = http.post(
        "/ml/rec", json={"userid": userid}, headers={"Sec-Fetch-Site": "cross-site"}
    )
    assert cross.status_code == 200
    ask(http, user_in(experiment, "control"))
    exposed(both, 1)


def test_an_arm_without_its_release_gets_the_active_one(
    http: FlaskClient, both: Fakes
) -> None:
    experiment = start(http, both)
    for service in both.services:
        del service.worlds[OTHER]
    both.users.history.remove(OTHER)
    both.follow()
    answer = ask(http, user_in(experiment, "treatment"))
    assert answer["release"] == both.world.release
    assert "degraded" not in answer
    (logged,) = exposed(both, 1)
    assert (logged.arm, logged.release, logged.as_dealt) == (
        "treatment",
        both.world.release,
        False,
    )


def test_while_an_arm_is_not_loaded_the_active_release_answers(
    http: FlaskClient, fakes: Fakes
) -> None:
    fakes.add(
        type(fakes.world)(release=OTHER, model=wire.MODEL, model_version=2, seed=7)
    )
    experiment = start(http, fakes)
    userid = user_in(experiment, "treatment")
    assert ask(http, userid)["release"] == fakes.world.release
    fakes.users.history.append(OTHER)
    fakes.follow()
    assert ask(http, userid)["release"] == OTHER


@pytest.mark.parametrize("away", ["redis", "triton", "elasticsearch"])
def test_without_a_service_the_arm_still_answers(
    http: FlaskClient, both: Fakes, away: str
) -> None:
    experiment = start(http, both)
    userid = user_in(experiment, "treatment")
    before = ask(http, userid)
    both.service(away).down = True
    answer = ask(http, userid)
    assert answer["release"] == OTHER
    assert answer["degraded"]
    if away == "redis":  # from the state last known, which is the arm's
        assert ids(answer) == ids(before)
        assert answer["degraded"][0]["instead"] == "last_state"


def test_interleaved_lists_name_teams_only_in_the_log(
    http: FlaskClient, both: Fakes
) -> None:
    start(http, both, kind="interleaved")
    lists = [
        ids(ask(http, 1, release=release, size=20))
        for release in (both.world.release, OTHER)
    ]
    answer = ask(http, 1, size=20, explain=True)
    assert answer["experiments"] == [
        {"experiment": "ranker", "arms": ["control", "treatment"]}
    ]
    assert [each["itemid"] for each in answer["explained"]] == ids(answer)
    assert len(set(ids(answer))) == 20
    (logged,) = exposed(both, 1)
    assert logged.items == tuple(ids(answer))
    assert (logged.arm, logged.as_dealt, len(logged.teams)) == ("", True, 20)
    for item, team in zip(logged.items, logged.teams, strict=True):
        assert item in lists[int(team)]
    assert logged.teams.count("0") == logged.teams.count("1") == 10
    assert ids(ask(http, 1, size=20)) == ids(
        answer
    )  # as long as the lists are the same


@pytest.mark.parametrize("design", ["split", "interleaved"])
def test_other_questions_are_answered_by_the_users_arm(
    http: FlaskClient, both: Fakes, design: str
) -> None:
    """Of an interleaved list by the first arm's."""
    experiment = both.store.run("ranker", OTHER, both.world.release, kind=design)
    ask(http, experiments=False)
    for arm in experiment.arms:
        userid = user_in(experiment, arm)
        release = experiment.arms["control" if design == "interleaved" else arm].release
        assert (
            http.get(f"/ml/why-not?userid={userid}&itemid=4").json["release"] == release
        )
        ranked = http.post("/ml/rank", json={"userid": userid, "candidates": [3, 4, 5]})
        assert ranked.json["release"] == release


def test_pages_are_of_one_list_the_first_arms(http: FlaskClient, both: Fakes) -> None:
    start(http, both, kind="interleaved")
    for userid in range(1, 13):
        first = ask(http, userid, cursor=True)
        second = ask(http, userid, cursor=first["cursor"])
        assert not set(ids(first)) & set(ids(second))
        assert {first["release"], second["release"]} == {both.world.release}
    assert not any(each.as_dealt for each in exposed(both, 24))


def test_a_degraded_interleaving_is_answered_by_the_first_arm(
    http: FlaskClient, both: Fakes
) -> None:
    start(http, both, kind="interleaved")
    both.scorer.down = True
    answer = ask(http, 1)
    assert answer["release"] == both.world.release
    assert answer["degraded"]
    (logged,) = exposed(both, 1)
    assert (logged.arm, logged.as_dealt, logged.teams) == ("control", False, "")


def test_an_experiment_over_another_data_set_is_empty(
    http: FlaskClient, both: Fakes
) -> None:
    experiment = start(http, both)
    userid = user_in(experiment, "treatment")
    elsewhere = type(both.world)(release="cccccccccccc", name="another")
    both.publish(elsewhere)
    both.users.live_release = elsewhere.release
    both.follow()
    answer = ask(http, userid)
    assert answer["release"] == elsewhere.release
    assert "experiments" not in answer
    reported = http.get(f"/ml/why-not?userid={userid}&itemid=4").json
    assert reported["release"] == elsewhere.release
    exposed(both, 0)
    both.users.live_release = both.world.release
    both.follow()
    assert "experiments" in ask(http, userid)


def test_an_unreadable_experiment_is_ignored(http: FlaskClient, both: Fakes) -> None:
    both.users.experiments = b"[{}]"
    both.follow()
    for _ in range(2):
        assert "experiments" not in ask(http)


LIVE = DefaultWorld().release
NOT_PUBLISHED = (
    f"'new' names release ffffffffffff, which is not published; published: {LIVE}"
)
BODY = {
    "name": "ranker",
    "arms": {"control": {"release": LIVE}, "same": {"release": LIVE, "weight": 3}},
}


def test_one_is_started_looked_up_and_stopped(with_a_key: FlaskClient) -> None:
    assert with_a_key.get("/ml/experiments").json == {"experiments": []}
    started = with_a_key.post("/ml/experiments", json=BODY)
    assert started.status_code == 200, started.text
    conforms(started.json, "ExperimentView")
    assert [arm["share"] for arm in started.json["arms"]] == [0.25, 0.75]
    there = with_a_key.get("/ml/experiments").json
    conforms(there, "ExperimentsView")
    assert there == {"experiments": [started.json]}
    over = with_a_key.post("/ml/experiments/ranker/stop").json
    assert over["stopped"] is not None
    assert with_a_key.get("/ml/experiments").json == {"experiments": [over]}


@pytest.mark.parametrize(
    ("body", "field", "message"),
    [
        ({}, "name", "name: "),
        ({**BODY, "arms": {}}, "arms", "arms: "),
        ({**BODY, "kind": "interleaved"}, "body", "interleaved arms have no weights"),
        ({**BODY, "buckets": []}, "buckets", "buckets: "),
        (
            {**BODY, "arms": {**BODY["arms"], "new": {"release": "f" * 12}}},
            "arms",
            NOT_PUBLISHED,
        ),  # type: ignore[dict-item]
    ],
)
def test_an_invalid_declaration_is_explained(
    with_a_key: FlaskClient, body: Any, field: str, message: str
) -> None:
    answer = with_a_key.post("/ml/experiments", json=body)
    assert answer.status_code == 400
    assert answer.json["error"]["field"] == field
    assert message in answer.json["error"]["message"]


LISTS = st.lists(st.integers(0, 30), unique=True, max_size=20)


@given(LISTS, LISTS, st.integers(1, 25), st.integers())
def test_every_item_once_and_both_teams_in_turns(
    first: list[int], second: list[int], size: int, seed: int
) -> None:
    places, teams = team_draft(first, second, size, Random(seed))
    lists = (first, second)
    items = [lists[team][place] for team, place in places]
    assert (
        len(set(items)) == len(items) == len(teams) == min(size, len({*first, *second}))
    )
    counted = teams.rstrip(NEITHER)
    assert NEITHER not in counted
    for end in range(0, len(counted) + 1, 2):
        assert counted[:end].count(FIRST) == counted[:end].count(SECOND)
    for (team, _), named in zip(places, teams, strict=True):
        assert named in (f"{team}", NEITHER)
    for team, own in enumerate(lists):  # the picking team takes its best that is left
        picked = [place for by, place in places if by == team]
        assert picked == sorted(picked)
        for number, (by, place) in enumerate(places):
            if by == team:
                assert set(own[:place]) <= set(items[:number])


@pytest.mark.parametrize("items", [[1, 2, 3, 4], [1]])
def test_equal_lists_interleave_unchanged_and_unbiased(items: list[int]) -> None:
    teams: Counter[tuple[int, str]] = Counter()
    rounds = 4_000
    for seed in range(rounds):
        places, of_items = team_draft(items, items, 50, Random(seed))
        assert [items[place] for _, place in places] == items
        teams.update(enumerate(of_items))
    for place in range(len(items)):
        assert abs(teams[place, FIRST] - rounds / 2) < 5 * (rounds / 4) ** 0.5
