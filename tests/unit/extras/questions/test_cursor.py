from __future__ import annotations

import zlib
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from flask.testing import FlaskClient
from itsdangerous import URLSafeSerializer
from pydantic import SecretStr

from data_exchange_center.settings import RedisSettings
from extras.questions.cursor import MAX_SHOWN, Cursor, CursorRequest, signer_of
from tests.unit.extras.conftest import Fakes
from tests.unit.extras.questions.asking import (
    DEFAULT,
    USER,
    ask,
    ids,
    refused,
    switch,
)
from tests.unit.online.conftest import SERVICES
from tests.unit.online.world import AT, UNKNOWN_USER


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


def rate(http: FlaskClient, shown: list[Any], userid: Any = USER, **more: Any) -> None:
    """Rate an item of the last page, as of now."""
    event = {"eventid": f"{len(shown)}", "userid": userid, "itemid": shown[-7]}
    event |= {"type": "rating", "value": 5, **more}
    assert http.post("/ml/event", json=event).status_code == 200


@DEFAULT
@pytest.mark.parametrize("userid", [USER, UNKNOWN_USER])
@pytest.mark.parametrize("late", [{}, {"timestamp": AT - 60}], ids=["now", "late"])
@pytest.mark.parametrize("as_of", [AT, None])
def test_pages_are_of_the_first_list(
    http: FlaskClient, userid: int, late: dict[str, int], as_of: int | None
) -> None:
    whole = ids(ask(http, userid=userid, size=200, timestamp=as_of))
    rated = partial(rate, http, userid=userid, **late)
    found = pages(http, 5, rated, userid=userid, timestamp=as_of)
    assert found[:200] == whole
    assert len(found) == 250
    now = ids(ask(http, userid=userid, size=200, timestamp=None))
    assert not set(found[43::50]) & set(now), "the ratings count where nobody pages"


def test_sizes_may_change_and_the_list_ends(fakes: Fakes, http: FlaskClient) -> None:
    first = ask(http, size=30, cursor=True)
    second = ask(http, size=70, cursor=first["cursor"])
    shown = ids(first) + ids(second)
    assert shown == ids(ask(http, size=100))
    cursor = second["cursor"]
    while cursor:
        answer = ask(http, size=200, cursor=cursor)
        assert "degraded" not in answer
        cursor = answer.get("cursor")
        assert answer.get("short") == (None if cursor else "end_of_list")
        shown += ids(answer)
    unseen = set(fakes.world.itemids) - set(fakes.world.seen[USER])
    assert len(set(shown)) == len(shown)
    assert unseen <= set(shown)


@pytest.mark.parametrize("userid", [USER, UNKNOWN_USER])
def test_another_release_repeats_nothing(
    fakes: Fakes, http: FlaskClient, userid: int
) -> None:
    def between(shown: list[Any]) -> None:
        rate(http, shown, userid)
        if len(shown) == 100:
            switch(fakes)

    assert len(pages(http, 5, between, userid=userid)) == 250


@DEFAULT
@pytest.mark.parametrize("down", SERVICES)
def test_pages_go_on_while_a_service_is_away(
    fakes: Fakes, http: FlaskClient, down: str
) -> None:
    def in_turn(shown: list[Any]) -> None:
        fakes.down(down if len(shown) % 100 else "none")

    assert len(pages(http, 5, in_turn)) == 250


@DEFAULT
def test_a_filter_a_history_and_a_diverse_list_are_paged(http: FlaskClient) -> None:
    where = {"genres": ["Comedy"]}
    assert pages(http, 3, size=20, where=where) == ids(ask(http, size=60, where=where))
    history = [{"itemid": 4, "value": 5}, {"itemid": 10, "value": 4}]
    whole = ids(ask(http, userid=None, history=history, size=90))
    assert pages(http, 3, userid=None, history=history, size=30) == whole
    assert len(pages(http, 4, diversity=0.5)) == 200


def made(signer: URLSafeSerializer, **more: Any) -> str:
    """A cursor of a list of `USER`."""
    digest = CursorRequest(userid=USER).digest
    fields: dict[str, Any] = {
        "request": digest,
        "timestamp": AT,
        "newest": (0, 0),
        "release": "",
    }
    fields |= {"left": 0, "left_out": [], "page": [], **more}
    cursor = Cursor.model_construct(**fields)
    with patch.object(Cursor, "signer", signer):
        return cursor.text()


@DEFAULT
def test_a_bad_cursor_is_400(http: FlaskClient) -> None:
    cursor = ask(http, cursor=True, size=20)["cursor"]
    huge = made(Cursor.signer, request="x" * 10_000_000)
    cut = (cursor[:-4], cursor[:-5] + "AAAA=", cursor[1:])
    for bad in ("", "x", "é", 7, huge, *cut):
        assert refused(http, cursor=bad) == "cursor", bad
    others: list[dict[str, Any]] = [
        {"userid": 2},
        {"timestamp": AT + 1},
        {"where": {"genres": ["Comedy"]}},
        {"exclude": [1]},
        {"diversity": 0.5},
    ]
    for other in others:
        error = ask(http, 400, cursor=cursor, **other)["error"]
        assert error["field"] == "cursor", other
        assert "cursor is of another list" in error["message"], other
    assert len(ids(ask(http, cursor=cursor, size=10, explain=True))) == 10


@DEFAULT
def test_a_forged_cursor_is_refused_before_it_is_read(http: FlaskClient) -> None:
    long = {"left_out": [*range(MAX_SHOWN + 1)]}
    mine = made(Cursor.signer)
    assert len(ids(ask(http, cursor=mine, timestamp=None))) == 50
    too_long = made(Cursor.signer, **long)
    assert refused(http, cursor=too_long, timestamp=None) == "cursor"
    another = made(signed_by("another"), **long)
    with patch.object(zlib, "decompress") as read:
        assert refused(http, cursor=another, timestamp=None) == "cursor"
    assert not read.called


def signed_by(password: str) -> URLSafeSerializer:
    return signer_of(RedisSettings(password=SecretStr(password)))


def test_the_cursors_key_comes_from_a_password_file(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("one pass")
    in_file = signer_of(RedisSettings(password_file=tmp_path / "password"))
    signers = [in_file, *map(signed_by, ("one pass", "another", ""))]
    signed = [each.dumps("a list") for each in signers]
    assert signed[0] == signed[1]
    assert len(set(signed)) == 3
