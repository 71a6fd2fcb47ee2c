from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from flask.testing import FlaskClient

from data_exchange_center.settings import Settings
from extras.events.hook import REMAINING
from extras.keys import store as keys
from online.main.s1_server import create_app
from tests.unit.extras.conftest import Fakes
from tests.unit.extras.questions.asking import ids
from tests.unit.online.world import UNKNOWN_USER, DefaultWorld, ShopWorld, World

EVENT = {"eventid": "a1", "userid": 1, "itemid": 4, "type": "rating", "value": 5}


def event(**changes: Any) -> dict[str, Any]:
    """`EVENT` with other fields, and without those that are None."""
    return {
        name: value for name, value in {**EVENT, **changes}.items() if value is not None
    }


@pytest.fixture
def kind(request: pytest.FixtureRequest) -> type[World]:
    return getattr(request, "param", DefaultWorld)


def send(
    http: FlaskClient, body: Any, status: int = 200, path: str = "/ml/event"
) -> Any:
    response = http.post(path, json=body)
    assert response.status_code == status, response.text
    return response.json


def ask(http: FlaskClient, userid: int | str = 1, **more: Any) -> Any:
    response = http.post("/ml/rec", json={"userid": userid, **more})
    assert response.status_code == 200, response.text
    return response.json


def test_the_next_answer_knows_what_was_rated(http: FlaskClient, fakes: Fakes) -> None:
    before = ask(http, size=200)
    best = ids(before)[0]
    answer = send(
        http, {**EVENT, "itemid": best, "recommendation": before["recommendation"]}
    )
    assert answer == {"events": [{"eventid": "a1", "new": True, "known_item": True}]}
    after = ask(http, size=200)
    assert best not in ids(after)
    assert ids(after) != [item for item in ids(before) if item != best], (
        "the vectors are of the new history"
    )
    assert after["recommendation"] != before["recommendation"]
    (logged,) = fakes.users.events_of(fakes.world.dataset, 1)
    assert logged.event.recommendation == before["recommendation"]


def test_an_event_of_this_second_is_known_without_timestamp(http: FlaskClient) -> None:
    now = int(time.time())
    best = ids(ask(http))[0]
    # a clock that is a little ahead
    send(http, {**EVENT, "itemid": best, "timestamp": now + 5})
    assert best not in ids(ask(http))
    assert best in ids(ask(http, timestamp=now))


def test_an_unknown_user_with_neutral_events_gets_popular_items(
    http: FlaskClient, fakes: Fakes
) -> None:
    """Events of items that the release does not know, and events that are not yet there at the request's time."""
    now = int(time.time())
    send(
        http, {**EVENT, "userid": UNKNOWN_USER, "itemid": 10**6, "timestamp": now - 10}
    )
    send(http, {**EVENT, "eventid": "a2", "userid": UNKNOWN_USER, "timestamp": now})
    answer = ask(http, UNKNOWN_USER, timestamp=now)
    assert answer["cold_start"]
    assert answer["cold_start"]
    assert ids(answer) == [item for item, _ in fakes.world.popular[:50]]


def test_an_unknown_user_is_personal_from_the_first_event(
    http: FlaskClient, fakes: Fakes
) -> None:
    popular = ask(http, UNKNOWN_USER)
    assert popular["cold_start"] is True
    send(http, {**EVENT, "userid": UNKNOWN_USER})
    personal = ask(http, UNKNOWN_USER, strict=True)
    assert personal["cold_start"] is False
    assert "degraded" not in personal
    assert 4 not in ids(personal)
    assert ids(personal) != ids(popular)
    assert {
        row
        for query in fakes.features.calls
        if query.entity == "user"
        for row in query.ids
    } <= {1}
    send(
        http,
        {**EVENT, "userid": UNKNOWN_USER, "eventid": "a2", "itemid": 7, "value": 1},
    )
    assert ids(ask(http, UNKNOWN_USER)) != ids(personal)


def test_the_count_of_a_users_ratings_is_that_of_the_history(
    http: FlaskClient, fakes: Fakes
) -> None:
    """In the row that the model is given, whatever the feature store holds."""
    column = fakes.world.spec.columns.index("n_ratings")
    ask(http)
    send(
        http,
        [{**EVENT, "eventid": f"a{item}", "itemid": item} for item in (10, 13, 16)],
    )
    ask(http)
    first, second = (query.inputs.rows[0, column] for query in fakes.scorer.calls)
    rated = len(fakes.world.histories[1].item_numbers)
    feature = next(each for each in fakes.world.spec.dense if each.name == "n_ratings")
    new = sum(item not in fakes.world.seen[1] for item in (10, 13, 16))
    assert [first, second] == pytest.approx(
        [feature.encode([n])[0] for n in (rated, rated + new)]
    )


def test_an_item_that_the_release_does_not_know_is_recorded(
    http: FlaskClient, fakes: Fakes
) -> None:
    before = ids(ask(http))
    answer = send(http, {**EVENT, "itemid": 999_999})
    assert answer["events"] == [{"eventid": "a1", "new": True, "known_item": False}]
    assert len(fakes.users.events_of(fakes.world.dataset, 1)) == 1
    assert ids(ask(http)) == before


BAD: dict[str, tuple[Any, str]] = {
    "an empty list": ([], "body"),
    "a number": (7, "body"),
    "no eventid": (event(eventid=None), "eventid"),
    "an eventid that is empty": (event(eventid=""), "eventid"),
    "an unknown field": (event(x=1), "x"),
    "a type that is not declared": (event(type="bought"), "type"),
    "a rating without a value": (event(value=None), "value"),
    "no value of the data set's": (event(value=3.7), "value"),
    "a userid of the other kind": (event(userid="1"), "userid"),
    "an itemid of the other kind": (event(itemid="4"), "itemid"),
    "milliseconds": (event(timestamp=1764115200000), "timestamp"),
    "the future": (event(timestamp=4294967295), "timestamp"),
    "the second of two, by the data set": (
        [EVENT, event(eventid="b", type="bought")],
        "[1].type",
    ),
}


@pytest.mark.parametrize(("body", "field"), BAD.values(), ids=BAD)
def test_refused_events_are_reported_and_not_recorded(
    http: FlaskClient, fakes: Fakes, body: Any, field: str
) -> None:
    error = send(http, body, 400)["error"]
    assert (error["code"], error["field"]) == ("bad_request", field)
    assert 10 < len(error["message"]) < 400
    assert fakes.users.events == {}


def test_an_event_belongs_to_the_active_release(
    http: FlaskClient, fakes: Fakes
) -> None:
    fakes.publish(replace(fakes.world, release="bbbbbbbbbbbb", name="others"))
    fakes.users.live_release = "bbbbbbbbbbbb"
    fakes.follow()
    send(http, EVENT)
    assert [key[0] for key in fakes.users.events] == ["others"]


def test_a_forgotten_user_is_unknown(with_a_key: FlaskClient, fakes: Fakes) -> None:
    http = with_a_key
    send(http, EVENT)
    assert ask(http)["cold_start"] is False
    response = http.delete("/ml/user/1")
    assert response.json == {
        "userid": 1,
        "events": 1,
        "releases": 1,
        "remaining": list(REMAINING),
    }
    assert any("Redis" in each for each in REMAINING), (
        "the mark that keeps the user from coming back"
    )
    assert ask(http)["cold_start"] is True
    fakes.users.down = True
    assert ask(http)["degraded"][0]["instead"] == "popular", (
        "this process remembers no state either"
    )
    fakes.users.down = False
    send(http, {**EVENT, "eventid": "later"})
    assert ask(http)["cold_start"] is False


def test_forgetting_by_another_process_clears_memory(
    http: FlaskClient, fakes: Fakes
) -> None:
    ask(http)
    fakes.log.forget(1, fakes.world.dataset)
    fakes.follow()
    fakes.users.down = True
    assert ask(http)["degraded"][0]["instead"] == "popular"
    fakes.users.down = False
    ask(http, 2)
    fakes.users.down = True
    assert ask(http, 2)["degraded"][0]["instead"] == "last_state", (
        "others are remembered again"
    )


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Origin": "http://elsewhere.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://localhost"}, 200),
        ({}, 200),
    ],
)
@pytest.mark.parametrize("path", ["/ml/event", "/api/feedback"])
def test_no_page_of_another_site_writes_without_a_key(
    http: FlaskClient, fakes: Fakes, headers: dict[str, str], status: int, path: str
) -> None:
    gorse = [{"FeedbackType": "view", "UserId": "1", "ItemId": "4"}]
    response = http.post(
        path, json=gorse if path == "/api/feedback" else EVENT, headers=headers
    )
    assert response.status_code == status
    assert len(fakes.users.events) == (status == 200)
    assert (
        http.post("/ml/rec", json={"userid": 1}, headers=headers).status_code == 200
    ), "reading is no harm"


def test_a_key_is_good_from_any_site(with_a_key: FlaskClient) -> None:
    assert (
        with_a_key.post(
            "/ml/event", json=EVENT, headers={"Sec-Fetch-Site": "cross-site"}
        ).status_code
        == 200
    )


def test_a_full_list_of_events_fits_into_a_body(http: FlaskClient) -> None:
    events = [
        {**EVENT, "eventid": f"{'a' * 40}{n}", "recommendation": "r" * 32}
        for n in range(500)
    ]
    assert len(send(http, events)["events"]) == 500


def test_too_many_events_of_a_user_are_refused(http: FlaskClient, fakes: Fakes) -> None:
    fakes.log.full = True
    error = send(http, EVENT, 409)["error"]
    assert error["code"] == "too_many_events"
    assert send(http, {**EVENT, "type": "view"})["events"][0]["new"], (
        "what is only noted is taken all the same"
    )


@pytest.mark.parametrize("userid", ["0", "x", "-1", "7 ", str(2**31), "9" * 600])
def test_nobody_has_such_an_id(with_a_key: FlaskClient, userid: str) -> None:
    response = with_a_key.delete(f"/ml/user/{userid}")
    assert response.status_code == 400
    assert response.json["error"]["field"] == "userid"


@pytest.mark.parametrize("kind", [ShopWorld], indirect=True)
@pytest.mark.parametrize(
    "userid", ["a/b", "/", "//x//", "new\nline", "ünï", "7", "?a=1"]
)
def test_ids_may_be_any_text(
    with_a_key: FlaskClient, fakes: Fakes, userid: str
) -> None:
    send(
        with_a_key,
        {"eventid": "a", "userid": userid, "itemid": "nowhere", "type": "view"},
    )
    response = with_a_key.delete(f"/ml/user/{quote(userid, safe='')}")
    found = response.json
    assert (found["userid"], found["events"]) == (userid, 1)
    assert found["releases"] == int(userid in fakes.world.numbers)


def test_an_event_needs_a_good_key_from_the_first_one_on(
    fakes: Fakes, tmp_path: Path
) -> None:
    path = tmp_path / "api_keys"
    http = create_app(
        fakes.recommender, Settings(server={"keys_file": path}), fakes.stores
    ).test_client()
    key = keys.add(path, "shop")
    for headers, status in (
        ({"X-API-Key": "wrong"}, 401),
        ({"X-API-Key": key}, 200),
        ({"Authorization": f"Bearer {key}"}, 200),
    ):
        assert http.post("/ml/event", json=EVENT, headers=headers).status_code == status
    assert http.post("/api/feedback", json=[]).status_code == 401
    keys.revoke(path, "shop")
    assert http.post("/ml/event", json=EVENT).status_code == 401, (
        "who takes the last key back wants nobody to write"
    )
