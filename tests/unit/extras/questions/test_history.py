from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.unit.extras.asking import ask, ids
from tests.unit.extras.conftest import BOTH_KINDS, Fakes
from tests.unit.online.world import AT, UNKNOWN_USER


def event(itemid: int, ago: int, **more: Any) -> dict[str, Any]:
    return {"itemid": itemid, "timestamp": AT - ago, "type": "rating", **more}


HISTORY = [
    *(event(3 * n + 1, 900 - n // 2, value=1 + n % 5) for n in range(9)),
    event(40, 80, type="hide"),
    event(1, 70, type="undo"),
    event(10**6 + 1, 60, value=5),  # of no item
    event(70, -60, value=5),  # later
]
REQUESTS: list[dict[str, Any]] = [
    {},
    {"where": {"genres": ["Drama"]}},
    {"diversity": 0.5, "explain": True},
]


@BOTH_KINDS
@pytest.mark.parametrize("down", ["", "elasticsearch", "feast", "triton"])
def test_the_answer_is_that_of_a_stored_user_with_these_events(
    fakes: Fakes, http: FlaskClient, down: str
) -> None:
    # a service may be left alone by now
    changing = {"recommendation", "took_ms", "userid", "degraded", "reason"}

    def answer(**body: Any) -> list[dict[str, Any]]:
        whole = [ask(http, size=100, **body, **more) for more in REQUESTS]
        return [{key: each[key] for key in each.keys() - changing} for each in whole]

    ask(http)
    fakes.down(down)
    given = answer(history=HISTORY, userid=None)
    assert not fakes.users.events
    assert given == answer(history=HISTORY, userid=1)  # what is stored does not count
    for n, each in enumerate(HISTORY):
        body = {"eventid": f"{n}", "userid": UNKNOWN_USER, **each}
        assert http.post("/ml/event", json=body).status_code == 200
    assert given == answer(userid=UNKNOWN_USER)
    assert not given[0]["cold_start"]
    assert given != answer(userid=1)


def test_it_needs_no_state_of_a_user(fakes: Fakes, http: FlaskClient) -> None:
    before = ask(http, userid=None, history=HISTORY)
    assert "userid" not in before
    fakes.users.down = True
    after = ask(http, userid=None, history=HISTORY)
    assert after["item_list"] == before["item_list"]
    assert after.get("degraded") == before.get("degraded")
    strict = ask(http, 503, userid=None, history=HISTORY, strict=True)
    assert strict["error"]["service"] == "redis"


def test_an_event_may_name_its_item_and_value_alone(http: FlaskClient) -> None:
    short = [{"itemid": 4, "value": 5}]
    whole = [event(4, 1, value=5)]
    found = ids(ask(http, userid=None, history=short, size=200))
    assert found == ids(ask(http, userid=None, history=whole, size=200))
    assert 4 not in found
