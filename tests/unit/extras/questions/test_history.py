from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.unit.extras.conftest import Fakes
from tests.unit.extras.document import conforms
from tests.unit.extras.questions.asking import ask, ids
from tests.unit.online.world import AT, UNKNOWN_USER, ShopWorld

UNKNOWN_USER_ = UNKNOWN_USER
MORE: list[dict[str, Any]] = [
    {},
    {"where": {"genres": ["Drama"]}},
    {"diversity": 0.5, "explain": True},
]


def history(fakes: Fakes) -> list[dict[str, Any]]:
    own = fakes.world.own_item
    rated = [
        {
            "itemid": own(3 * n + 1),
            "type": "rating",
            "value": 1 + n % 5,
            "timestamp": AT - 900 + n // 2,
        }
        for n in range(9)
    ]
    return [
        *rated,
        {"itemid": own(40), "type": "hide", "timestamp": AT - 80},
        {"itemid": own(1), "type": "undo", "timestamp": AT - 70},
        {
            "itemid": own(10**6 + 1),
            "type": "rating",
            "value": 5,
            "timestamp": AT - 60,
        },  # of no item
        {
            "itemid": own(70),
            "type": "rating",
            "value": 5,
            "timestamp": AT + 60,
        },  # later
    ]


@pytest.mark.parametrize("down", ["", "elasticsearch", "feast", "triton"])
def test_the_answer_is_that_of_a_stored_user_with_these_events(
    fakes: Fakes, http: FlaskClient, down: str
) -> None:
    def answer(**body: Any) -> list[dict[str, Any]]:
        answers = [ask(http, size=100, **body, **more) for more in MORE]
        conforms(answers[0], "Answer")
        changing = (
            "recommendation",
            "took_ms",
            "userid",
            "degraded",
            "reason",
        )  # a service may be left alone by now
        return [
            {name: part for name, part in found.items() if name not in changing}
            for found in answers
        ]

    events = history(fakes)
    if down:
        ask(http)
        fakes.service(down).down = True
    given = answer(history=events, userid=None)
    assert not fakes.users.events
    assert given == answer(history=events, userid=1), (
        "what is stored of a user does not count"
    )
    for n, event in enumerate(events):
        stored = http.post(
            "/ml/event", json={"eventid": f"{n}", "userid": UNKNOWN_USER_, **event}
        )
        assert stored.status_code == 200, stored.text
    assert given == answer(userid=UNKNOWN_USER_)
    assert not given[0]["cold_start"]
    assert given != answer(userid=1)


def test_it_needs_no_state_of_a_user(fakes: Fakes, http: FlaskClient) -> None:
    before = ask(http, userid=None, history=history(fakes))
    assert "userid" not in before
    fakes.users.down = True
    after = ask(http, userid=None, history=history(fakes))
    assert after["item_list"] == before["item_list"]
    assert after.get("degraded") == before.get("degraded")
    assert (
        ask(http, 503, userid=None, history=history(fakes), strict=True)["error"][
            "service"
        ]
        == "redis"
    )


def test_an_event_may_name_its_item_and_value_alone(
    fakes: Fakes, http: FlaskClient
) -> None:
    short = [{"itemid": fakes.world.own_item(4), "value": 5}]
    whole = [{**short[0], "type": "rating", "timestamp": AT - 1}]
    assert ids(ask(http, userid=None, history=short)) == ids(
        ask(http, userid=None, history=whole)
    )
    assert fakes.world.own_item(4) not in ids(
        ask(http, userid=None, history=short, size=200)
    )


@pytest.mark.parametrize("kind", [ShopWorld], indirect=True)
def test_ids_may_be_strings(fakes: Fakes, http: FlaskClient) -> None:
    answer = ask(
        http, userid=None, history=[{"itemid": fakes.world.own_item(4), "value": 5}]
    )
    assert not answer["cold_start"]
    error = ask(http, 400, userid=None, history=[{"itemid": 4, "value": 5}])["error"]
    assert error["message"] == f"{error['field']} must be a string in this data set."
    assert error["field"] == "history[0].itemid"
