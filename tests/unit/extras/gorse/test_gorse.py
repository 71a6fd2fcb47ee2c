from __future__ import annotations

import time
from functools import partial
from typing import Any

import pytest
from flask.testing import FlaskClient
from gorse import Gorse, GorseException

from tests.unit.extras.conftest import Fakes
from tests.unit.extras.events import test_routes
from tests.unit.extras.questions.asking import ask
from tests.unit.online.conftest import SERVICES
from tests.unit.online.world import AT, UNKNOWN_USER, DefaultWorld

pytestmark = pytest.mark.parametrize("kind", [DefaultWorld], indirect=True)
USER = 8


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
    parts = [
        [each.id for each in client.get_recommend(f"{USER}", n=6, offset=offset)]
        for offset in (0, 6)
    ]
    assert parts[0] + parts[1] == whole
    # without the version ids alone
    assert http.get(f"/api/recommend/{USER}?n=12").json == whole
    assert len(http.get(f"/api/recommend/{USER}").json) == 10  # type: ignore[arg-type]


def test_neighbours_are_what_is_similar(client: Gorse, http: FlaskClient) -> None:
    similar = http.get("/ml/similar?itemid=4&size=5").json
    wanted = [
        {"Id": str(item["itemid"]), "Score": item["score"]}
        for item in similar["item_list"]
    ]
    assert (
        client.get_neighbors("4", n=3) + client.get_neighbors("4", n=2, offset=3)
        == wanted
    )


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


@pytest.mark.parametrize(
    ("wrong", "field"),
    [({"ItemId": "-1"}, "[0].ItemId"), ({"FeedbackType": "star"}, "[0].FeedbackType")],
)
def test_a_wrong_session_names_its_field(
    client: Gorse, wrong: dict[str, Any], field: str
) -> None:
    with pytest.raises(GorseException) as refused:
        client.session_recommend(
            [{"FeedbackType": "rating", "ItemId": "4", "Value": 5, **wrong}]
        )
    assert refused.value.status_code == 400
    assert f'"field":"{field}"' in refused.value.message.replace(" ", "")


def test_without_services_the_popular_list_answers(client: Gorse, fakes: Fakes) -> None:
    client.get_recommend(f"{USER}")
    fakes.down(*SERVICES)
    assert len(client.get_recommend(f"{USER}", n=5)) == 5
    assert len(client.get_neighbors("4", n=5)) == 5


def test_feedback_is_recorded(http: FlaskClient, fakes: Fakes) -> None:
    sent = [
        {
            "FeedbackType": "rating",
            "UserId": "1",
            "ItemId": "4",
            "Value": 5,
            "Timestamp": "2022-02-24",
        },
        {
            "FeedbackType": "view",
            "UserId": "1",
            "ItemId": "7",
            "Timestamp": "2022-02-24T10:00:00+01:00",
            "Comment": "",
        },
        {"FeedbackType": "view", "UserId": "2", "ItemId": "7", "Timestamp": ""},
    ]
    assert send(http, sent) == {"RowAffected": 3}
    assert send(http, sent[:2]) == {"RowAffected": 0}
    assert http.put("/api/feedback", json=sent[:1]).json == {"RowAffected": 0}
    assert send(http, sent[2:]) == {"RowAffected": 0}, (
        "without a time it counts once, too"
    )
    zero = [{**sent[2], "Timestamp": "0001-01-01T00:00:00Z"}]
    assert send(http, zero) == {"RowAffected": 0}, "Go's zero time is none"
    first, second = (
        logged.event for logged in fakes.users.events_of(fakes.world.dataset, 1)
    )
    assert (first.userid, first.itemid, first.type, first.value, first.timestamp) == (
        1,
        4,
        "rating",
        5,
        1645660800,
    )
    assert second.timestamp == 1645693200
    assert fakes.users.events_of(fakes.world.dataset, 2)[
        0
    ].event.timestamp == pytest.approx(time.time(), abs=60)


@pytest.mark.parametrize(
    "sent_at", [{}, {"Timestamp": "0001-01-01T00:00:00Z"}, {"Timestamp": "2022-02-24"}]
)
@pytest.mark.parametrize("method", ["post", "put"])
def test_the_newest_feedback_wins(
    http: FlaskClient, fakes: Fakes, method: str, sent_at: dict[str, str]
) -> None:
    def rate(value: float) -> Any:
        sent = {
            "FeedbackType": "rating",
            "UserId": "1",
            "ItemId": "4",
            "Value": value,
            **sent_at,
        }
        return getattr(http, method)("/api/feedback", json=[sent]).json["RowAffected"]

    assert [rate(value) for value in (4, 4, 5, 5, 4, 4)] == [1, 0, 1, 0, 1, 0]
    newest = max(
        fakes.users.events_of(fakes.world.dataset, 1), key=lambda each: each[:2]
    ).event
    assert newest.value == 4


def test_an_item_hidden_again_after_undo_is_hidden(http: FlaskClient) -> None:
    top = listed(http, userid=USER)[0][0]
    for kind in ("hide", "undo", "hide"):
        assert send(
            http, [{"FeedbackType": kind, "UserId": f"{USER}", "ItemId": top}]
        ) == {"RowAffected": 1}
    assert top not in [name for name, _ in listed(http, userid=USER)]


def test_repeats_within_one_list_count_in_order(
    http: FlaskClient, fakes: Fakes
) -> None:
    rating = {"FeedbackType": "rating", "UserId": "1", "ItemId": "4"}
    sent = [{**rating, "Value": value} for value in (4, 5, 5, 4)]
    assert send(http, sent) == {"RowAffected": 3}
    assert send(http, sent[-1:]) == {"RowAffected": 0}
    newest = max(
        fakes.users.events_of(fakes.world.dataset, 1), key=lambda each: each[:2]
    ).event
    assert newest.value == 4


def test_a_late_retry_of_dated_feedback_changes_nothing(http: FlaskClient) -> None:
    rating = {"FeedbackType": "rating", "UserId": "1", "ItemId": "4"}
    first, second = (
        {**rating, "Value": value, "Timestamp": f"2022-02-2{value}"} for value in (4, 5)
    )
    assert [send(http, [each])["RowAffected"] for each in (first, second, first)] == [
        1,
        1,
        0,
    ]


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"UserId": "bob"}, "[0].UserId"),
        ({"ItemId": "-1"}, "[0].ItemId"),
        ({"Timestamp": "yesterday"}, "[0].Timestamp"),
        ({"FeedbackType": "star"}, "[0].FeedbackType"),
        ({"Value": None}, "[0].Value"),
    ],
)
def test_feedback_is_checked_as_ours(
    http: FlaskClient, fakes: Fakes, wrong: dict[str, Any], field: str
) -> None:
    sent = {
        "FeedbackType": "rating",
        "UserId": "1",
        "ItemId": "4",
        "Value": 5,
        "Timestamp": "2022-02-24",
        **wrong,
    }
    assert send(http, [sent], 400)["error"]["field"] == field
    assert fakes.users.events == {}
