from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.unit.extras.conftest import Fakes
from tests.unit.extras.document import conforms
from tests.unit.extras.questions.asking import ask, ids
from tests.unit.online.world import AT, UNKNOWN_USER, ShopWorld

MORE: list[dict[str, Any]] = [
    {},
    {"where": {"genres": ["Drama"]}},
    {"diversity": 0.5, "explain": True},
]


def event(fakes: Fakes, itemid: int, ago: int, **more: Any) -> dict[str, Any]:
    given = {"itemid": fakes.world.own_item(itemid), "timestamp": AT - ago}
    return {**given, "type": "rating", **more}


def history(fakes: Fakes) -> list[dict[str, Any]]:
    return [
        *(event(fakes, 3 * n + 1, 900 - n // 2, value=1 + n % 5) for n in range(9)),
        event(fakes, 40, 80, type="hide"),
        event(fakes, 1, 70, type="undo"),
        event(fakes, 10**6 + 1, 60, value=5),  # of no item
        event(fakes, 70, -60, value=5),  # later
    ]


@pytest.mark.parametrize("down", ["", "elasticsearch", "feast", "triton"])
def test_the_answer_is_that_of_a_stored_user_with_these_events(
    fakes: Fakes, http: FlaskClient, down: str
) -> None:
    # a service may be left alone by now
    changing = {"recommendation", "took_ms", "userid", "degraded", "reason"}

    def answer(**body: Any) -> list[dict[str, Any]]:
        found = []
        for more in MORE:
            whole = ask(http, size=100, **body, **more)
            conforms(whole, "Answer")
            found.append({key: whole[key] for key in whole.keys() - changing})
        return found

    events = history(fakes)
    if down:
        ask(http)
        fakes.service(down).down = True
    given = answer(history=events, userid=None)
    assert not fakes.users.events
    assert given == answer(history=events, userid=1)  # what is stored does not count
    for n, each in enumerate(events):
        body = {"eventid": f"{n}", "userid": UNKNOWN_USER, **each}
        stored = http.post("/ml/event", json=body)
        assert stored.status_code == 200, stored.text
    assert given == answer(userid=UNKNOWN_USER)
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
    item = fakes.world.own_item(4)
    short = [{"itemid": item, "value": 5}]
    whole = [{**short[0], "type": "rating", "timestamp": AT - 1}]
    found = ids(ask(http, userid=None, history=short, size=200))
    assert found == ids(ask(http, userid=None, history=whole, size=200))
    assert item not in found


@pytest.mark.parametrize("kind", [ShopWorld], indirect=True)
def test_ids_may_be_strings(fakes: Fakes, http: FlaskClient) -> None:
    event = {"itemid": fakes.world.own_item(4), "value": 5}
    assert not ask(http, userid=None, history=[event])["cold_start"]
    wrong = ask(http, 400, userid=None, history=[{**event, "itemid": 4}])
    assert wrong["error"]["field"] == "history[0].itemid"
