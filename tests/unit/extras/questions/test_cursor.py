from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from typing import Any

import pytest
from flask.testing import FlaskClient

from extras.questions.cursor import MAX_SHOWN
from tests.unit.extras.asking import (
    USER,
    ask,
    ids,
    refused,
    switch,
)
from tests.unit.extras.conftest import BOTH_KINDS, Fakes
from tests.unit.online.conftest import SERVICES
from tests.unit.online.world import UNKNOWN_USER


def pages(
    http: FlaskClient, n: int = 5, between: Any = lambda shown: None, **body: Any
) -> list[Any]:
    """The items of ``n`` pages, checked for repeats; ``between`` is called after each."""
    cursor: Any = True
    shown: list[Any] = []
    for _ in range(n):
        answer = ask(http, cursor=cursor, **body)
        shown += ids(answer)
        between(shown)
        cursor = answer.get("cursor")
    assert len(set(shown)) == len(shown)
    return shown


@BOTH_KINDS
@pytest.mark.parametrize("userid", [USER, UNKNOWN_USER])
def test_a_page_is_the_list_without_the_pages_before(
    http: FlaskClient, userid: int
) -> None:
    found = pages(http, 3, userid=userid)
    for n in (0, 50, 100):
        rest = ids(ask(http, userid=userid, exclude=found[:n]))
        assert found[n : n + 50] == rest


@BOTH_KINDS
def test_sizes_may_change_and_the_list_ends(fakes: Fakes, http: FlaskClient) -> None:
    shown: list[Any] = []
    cursor: bool | str = True
    for size in (30, 70, 200, 200, 200):
        answer = ask(http, size=size, cursor=cursor)
        assert "degraded" not in answer
        shown += ids(answer)
        cursor = answer.get("cursor", False)
        assert answer.get("short") == (None if cursor else "end_of_list")
        if not cursor:
            break
    assert not cursor
    assert len(set(shown)) == len(shown)
    assert set(fakes.world.itemids) - set(fakes.world.seen[USER]) <= set(shown)


@BOTH_KINDS
@pytest.mark.parametrize("userid", [USER, UNKNOWN_USER])
def test_another_release_and_a_rating_repeat_nothing(
    fakes: Fakes, http: FlaskClient, userid: int
) -> None:
    def between(shown: list[Any]) -> None:
        event = {"eventid": f"{len(shown)}", "userid": userid, "itemid": shown[-7]}
        event |= {"type": "rating", "value": 5}
        assert http.post("/ml/event", json=event).status_code == 200
        if len(shown) == 100:
            switch(fakes)

    assert len(pages(http, 5, between, userid=userid, timestamp=None)) == 250


@pytest.mark.parametrize("down", SERVICES)
def test_pages_go_on_while_a_service_is_away(
    fakes: Fakes, http: FlaskClient, down: str
) -> None:
    def in_turn(shown: list[Any]) -> None:
        fakes.down(down if len(shown) % 100 else "none")

    assert len(pages(http, 5, in_turn)) == 250


@pytest.mark.parametrize(
    "body",
    [
        {"where": {"genres": ["Comedy"]}},
        {"userid": None, "history": [{"itemid": 4, "value": 5}]},
        {"diversity": 0.5},
        {"query": "comedy adventure"},
    ],
)
def test_any_list_is_paged(http: FlaskClient, body: dict[str, Any]) -> None:
    assert len(pages(http, 3, size=30, **body)) == 90


def made(shown: object) -> str:
    return urlsafe_b64encode(json.dumps(shown).encode()).decode()


@pytest.mark.parametrize(
    "cursor",
    ["x", 7, made([1])[:-5], made([1.5]), made([1] * MAX_SHOWN * 2)],
)
def test_a_bad_cursor_is_400(http: FlaskClient, cursor: object) -> None:
    assert refused(http, cursor=cursor) == "cursor"
