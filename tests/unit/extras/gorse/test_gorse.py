from __future__ import annotations

import time
from functools import partial
from typing import Any

import pytest
from flask.testing import FlaskClient
from gorse import Gorse

from tests.unit.extras.asking import ask
from tests.unit.extras.conftest import Fakes
from tests.unit.extras.events import test_routes
from tests.unit.online.world import AT, UNKNOWN_USER

USER = 8


RATING = {"FeedbackType": "rating", "UserId": "1", "ItemId": "4", "Value": 5}
GO_ZERO = "0001-01-01T00:00:00Z"


@pytest.fixture
def client(url: str) -> Gorse:
    return Gorse(url, "")


send = partial(test_routes.send, path="/api/feedback")


def listed(http: FlaskClient, **body: Any) -> list[tuple[str, float]]:
    answer = ask(http, timestamp=None, **body)
    return [(str(item["itemid"]), item["score"]) for item in answer["item_list"]]


def test_the_list_is_that_of_our_own_call_in_parts(
    client: Gorse, http: FlaskClient
) -> None:
    whole = [name for name, _ in listed(http, userid=USER, size=12)]
    parts = client.get_recommend(f"{USER}", n=6)
    parts += client.get_recommend(f"{USER}", n=6, offset=6)
    assert [each.id for each in parts] == whole
    # without the version ids alone
    assert http.get(f"/api/recommend/{USER}?n=12").json == whole
    assert len(http.get(f"/api/recommend/{USER}").json) == 10  # type: ignore[arg-type]


def test_neighbours_are_what_is_similar(client: Gorse, http: FlaskClient) -> None:
    similar = http.get("/ml/similar?itemid=4&size=5").json["item_list"]
    wanted = [{"Id": f"{each['itemid']}", "Score": each["score"]} for each in similar]
    found = client.get_neighbors("4", n=3)
    found += client.get_neighbors("4", n=2, offset=3)
    assert found == wanted


def test_popular_items(http: FlaskClient) -> None:
    popular = [name for name, _ in listed(http, userid=UNKNOWN_USER, size=5)]
    found = http.get("/api/popular?n=4&offset=1").json
    assert [each["Id"] for each in found] == popular[1:]
    assert all(isinstance(each["Score"], float) for each in found)


def test_a_session_is_a_history_and_leaves_no_trace(
    client: Gorse, http: FlaskClient, fakes: Fakes
) -> None:
    history = [{"itemid": 4, "type": "rating", "value": 5, "timestamp": AT - 60}]
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(AT - 60))
    feedback = {"FeedbackType": "rating", "ItemId": "4", "Value": 5, "Timestamp": at}
    wanted = listed(http, userid=None, history=history, size=7)
    found = client.session_recommend([feedback], n=7)
    assert [each["Id"] for each in found] == [name for name, _ in wanted]
    assert fakes.users.events == {}


def newest(fakes: Fakes) -> Any:
    events = fakes.users.events_of(fakes.world.dataset, 1)
    return max(events, key=lambda each: each[:2]).event


@pytest.mark.parametrize(
    ("sent", "seconds"),
    [
        ({"Timestamp": "2022-02-24"}, 1645660800),
        ({"Timestamp": "2022-02-24T10:00:00+01:00", "Comment": ""}, 1645693200),
    ],
)
def test_dated_feedback_is_recorded_once(
    http: FlaskClient, fakes: Fakes, sent: dict[str, Any], seconds: int
) -> None:
    rating = RATING | sent
    assert send(http, [rating]) == {"RowAffected": 1}
    assert send(http, [rating]) == {"RowAffected": 0}
    assert http.put("/api/feedback", json=[rating]).json == {"RowAffected": 0}
    event = newest(fakes)
    assert (event.userid, event.itemid, event.value) == (1, 4, 5)
    assert (event.type, event.timestamp) == ("rating", seconds)


@pytest.mark.parametrize("at", ["", GO_ZERO])
def test_of_feedback_without_a_time_the_last_wins(
    http: FlaskClient, fakes: Fakes, at: str
) -> None:
    sent = [RATING | {"Value": n, "Timestamp": at} for n in (4, 5, 4)]
    assert send(http, sent) == {"RowAffected": 3}
    assert newest(fakes).value == 4
    assert newest(fakes).timestamp == pytest.approx(time.time(), abs=60)


@pytest.mark.parametrize("path", ["/api/feedback", "/api/session/recommend"])
@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"ItemId": "-1"}, "[0].ItemId"),
        ({"Timestamp": "yesterday"}, "[0].Timestamp"),
        ({"FeedbackType": "star"}, "[0].FeedbackType"),
        ({"Value": None}, "[0].Value"),
    ],
)
def test_wrong_feedback_names_its_field(
    http: FlaskClient, fakes: Fakes, wrong: dict[str, Any], field: str, path: str
) -> None:
    answer = http.post(path, json=[RATING | wrong])
    assert (answer.status_code, answer.json["error"]["field"]) == (400, field)
    assert fakes.users.events == {}


def test_feedback_of_no_such_user_is_refused(http: FlaskClient) -> None:
    error = send(http, [RATING | {"UserId": "bob"}], 400)["error"]
    assert error["field"] == "[0].UserId"
