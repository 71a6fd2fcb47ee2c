from __future__ import annotations

import time
from typing import Any
from urllib.parse import quote

import pytest
from flask.testing import FlaskClient

from tests.unit.extras.asking import SHOP, ids
from tests.unit.extras.conftest import Fakes
from tests.unit.online.world import (
    UNKNOWN_USER,
    TypedWorld,
)

EVENT = {"eventid": "a1", "userid": 1, "itemid": 4, "type": "rating", "value": 5}


def event(**changes: Any) -> dict[str, Any]:
    """`EVENT` with other fields, and without those that are None."""
    changed = {**EVENT, **changes}
    return {name: value for name, value in changed.items() if value is not None}


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
    best, shown_in = ids(before)[0], before["recommendation"]
    answer = send(http, event(itemid=best, recommendation=shown_in))
    assert answer == {"events": [{"eventid": "a1", "new": True, "known_item": True}]}
    after = ask(http, size=200)
    assert best not in ids(after)
    assert ids(after) != ids(before)[1:], "the vectors are of the new history"
    assert after["recommendation"] != shown_in
    (logged,) = fakes.users.events_of(fakes.world.dataset, 1)
    assert logged.event.recommendation == shown_in


def test_a_request_sees_events_before_its_own_second(
    http: FlaskClient, fakes: Fakes
) -> None:
    """All, if it names none. Such an event, and one of an unknown item, leave an unknown user the popular list."""
    now = int(time.time())
    best = ids(ask(http))[0]
    # a clock that is a little ahead
    send(http, event(itemid=best, timestamp=now + 5))
    assert best not in ids(ask(http))
    assert best in ids(ask(http, timestamp=now))
    unknown = event(userid=UNKNOWN_USER, itemid=10**6, timestamp=now - 10)
    early = event(userid=UNKNOWN_USER, eventid="a2", timestamp=now)
    answers = send(http, [unknown, early])["events"]
    assert [answer["known_item"] for answer in answers] == [False, True]
    answer = ask(http, UNKNOWN_USER, timestamp=now)
    assert answer["cold_start"]
    assert ids(answer) == [item for item, _ in fakes.world.popular[:50]]


def test_an_unknown_user_is_personal_from_the_first_event(http: FlaskClient) -> None:
    send(http, event(userid=UNKNOWN_USER))
    personal = ask(http, UNKNOWN_USER, strict=True)
    assert personal["cold_start"] is False
    assert 4 not in ids(personal)
    send(http, event(userid=UNKNOWN_USER, eventid="a2", itemid=7, value=1))
    assert ids(ask(http, UNKNOWN_USER)) != ids(personal)


def test_the_count_of_a_users_ratings_is_that_of_the_history(
    http: FlaskClient, fakes: Fakes
) -> None:
    """In the row that the model is given, whatever the feature store holds."""
    column = fakes.world.spec.columns.index("n_ratings")
    ask(http)
    send(http, [event(eventid=f"a{item}", itemid=item) for item in (10, 13, 16)])
    ask(http)
    rows = [query.inputs.rows[0, column] for query in fakes.scorer.calls]
    rated = len(fakes.world.histories[1].item_numbers)
    new = len({10, 13, 16} - set(fakes.world.seen[1]))
    feature = next(each for each in fakes.world.spec.dense if each.name == "n_ratings")
    assert rows == pytest.approx([feature.encode([n])[0] for n in (rated, rated + new)])


BAD: dict[str, tuple[Any, str]] = {
    "an empty list": ([], "body"),
    "no eventid": (event(eventid=None), "eventid"),
    "a type that is not declared": (event(type="bought"), "type"),
    "a rating without a value": (event(value=None), "value"),
    "no value of the data set's": (event(value=3.7), "value"),
    "a userid of the other kind": (event(userid="1"), "userid"),
    "an itemid of the other kind": (event(itemid="4"), "itemid"),
    "the future": (event(timestamp=4294967295), "timestamp"),
    "the second of two": ([EVENT, event(eventid="b", type="bought")], "[1].type"),
}


@pytest.mark.parametrize(("body", "field"), BAD.values(), ids=BAD)
def test_refused_events_are_reported_and_not_recorded(
    http: FlaskClient, fakes: Fakes, body: Any, field: str
) -> None:
    error = send(http, body, 400)["error"]
    assert (error["code"], error["field"]) == ("bad_request", field)
    assert 10 < len(error["message"]) < 400
    assert fakes.users.events == {}


@pytest.mark.parametrize("kind", [TypedWorld])
def test_a_viewed_item_is_still_recommended_and_a_bought_one_is_not(
    http: FlaskClient,
) -> None:
    best = ids(ask(http))[0]
    for number, kind in enumerate(("view", "cart", "return")):
        send(http, event(eventid=f"{number}", itemid=best, type=kind, value=None))
        assert best in ids(ask(http, size=200)), kind
    send(http, event(eventid="b", itemid=best, type="buy", value=None))
    assert best not in ids(ask(http, size=200))


def instead_while_redis_is_away(http: FlaskClient, fakes: Fakes, userid: int) -> Any:
    """What answers from this process's memory alone."""
    fakes.users.down = True
    (degraded,) = ask(http, userid)["degraded"]
    fakes.users.down = False
    return degraded["instead"]


def test_a_forgotten_user_is_unknown(with_a_key: FlaskClient, fakes: Fakes) -> None:
    http = with_a_key
    send(http, EVENT)
    assert ask(http)["cold_start"] is False
    assert http.delete("/ml/user/1").json == {"userid": 1, "events": 1}
    assert ask(http)["cold_start"] is True
    assert instead_while_redis_is_away(http, fakes, 1) == "popular"
    send(http, event(eventid="later"))
    assert ask(http)["cold_start"] is False


def test_forgetting_by_another_process_clears_memory(
    http: FlaskClient, fakes: Fakes
) -> None:
    ask(http)
    fakes.log.forget(1, fakes.world.dataset)
    fakes.follow()
    assert instead_while_redis_is_away(http, fakes, 1) == "popular"
    ask(http, 2)
    assert instead_while_redis_is_away(http, fakes, 2) == "last_state"


GORSE = [{"FeedbackType": "view", "UserId": "1", "ItemId": "4"}]
WRITING = [("/ml/event", EVENT), ("/api/feedback", GORSE)]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost"}, 200),
        ({"Origin": "http://elsewhere.example"}, 403),
        ({"Origin": "http://localhost"}, 200),
        ({}, 200),
    ],
)
@pytest.mark.parametrize(("path", "body"), WRITING)
def test_no_page_of_another_site_writes_without_a_key(
    http: FlaskClient,
    fakes: Fakes,
    headers: dict[str, str],
    status: int,
    path: str,
    body: Any,
) -> None:
    assert http.post(path, json=body, headers=headers).status_code == status
    assert len(fakes.users.events) == (status == 200)
    reading = http.post("/ml/rec", json={"userid": 1}, headers=headers)
    assert reading.status_code == 200


@pytest.mark.parametrize("userid", ["0", "x", "-1", "7 ", str(2**31), "9" * 600])
def test_nobody_has_such_an_id(with_a_key: FlaskClient, userid: str) -> None:
    response = with_a_key.delete(f"/ml/user/{userid}")
    assert response.status_code == 400
    assert response.json["error"]["field"] == "userid"


@SHOP
@pytest.mark.parametrize("userid", ["/", "//x//", "new\nline", "ünï", "7", "?a=1"])
def test_ids_may_be_any_text(with_a_key: FlaskClient, userid: str) -> None:
    send(with_a_key, event(userid=userid, itemid="nowhere", type="view"))
    found = with_a_key.delete(f"/ml/user/{quote(userid, safe='')}").json
    assert found == {"userid": userid, "events": 1}
