from __future__ import annotations

import zlib
from dataclasses import replace
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
from tests.unit.extras.document import conforms
from tests.unit.extras.questions.asking import USER, ask, ids
from tests.unit.online.conftest import SERVICES
from tests.unit.online.world import AT, NO_FEATURES_ITEM, UNKNOWN_USER, DefaultWorld

UNSCORED = NO_FEATURES_ITEM + 3000
pytestmark = pytest.mark.usefixtures("opened")


def pages(
    http: FlaskClient, n: int = 5, between: Any = lambda page, shown: None, **body: Any
) -> list[Any]:
    """The items of ``n`` pages, checked for repeats; ``between`` is called after each."""
    cursor: Any = True
    shown: list[Any] = []
    for page in range(n):
        answer = ask(http, cursor=cursor, **body)
        conforms(answer, "Answer")
        assert not set(ids(answer)) & set(shown), page
        shown += ids(answer)
        between(page, shown)
        cursor = answer.get("cursor")
    return shown


def rates(http: FlaskClient, userid: Any = USER, **more: Any) -> Any:
    """Between pages the user rates an item of the last one, as of now."""

    def rate(page: int, shown: list[Any]) -> None:
        event = {"eventid": f"{page}", "userid": userid, "itemid": shown[-7]}
        event |= {"type": "rating", "value": 5, **more}
        assert http.post("/ml/event", json=event).status_code == 200

    return rate


@pytest.mark.parametrize("kind", [DefaultWorld], indirect=True)
@pytest.mark.parametrize("userid", [USER, UNKNOWN_USER])
@pytest.mark.parametrize("late", [{}, {"timestamp": AT - 60}], ids=["now", "late"])
@pytest.mark.parametrize("as_of", [AT, None])
def test_pages_are_of_the_first_list(
    http: FlaskClient, userid: int, late: dict[str, int], as_of: int | None
) -> None:
    whole = ids(ask(http, userid=userid, size=200, timestamp=as_of))
    found = pages(http, 5, rates(http, userid, **late), userid=userid, timestamp=as_of)
    assert found[:200] == whole
    assert len(found) == 250
    now = ids(ask(http, userid=userid, size=200, timestamp=None))
    assert not set(found[43::50]) & set(now), "the ratings count where nobody pages"


def test_sizes_may_change_and_the_list_ends(fakes: Fakes, http: FlaskClient) -> None:
    user = fakes.world.own_user(USER)
    first = ask(http, userid=user, size=30, cursor=True)
    second = ask(http, userid=user, size=70, cursor=first["cursor"])
    assert ids(first) + ids(second) == ids(ask(http, userid=user, size=100))
    cursor, shown = second["cursor"], {*ids(first), *ids(second)}
    while cursor:
        answer = ask(http, userid=user, size=200, cursor=cursor)
        assert "degraded" not in answer
        cursor = answer.get("cursor")
        assert answer.get("short") == (None if cursor else "end_of_list")
        assert shown.isdisjoint(ids(answer))
        shown |= set(ids(answer))
    unseen = set(fakes.world.itemids) - set(fakes.world.seen[USER])
    assert {fakes.world.own_item(itemid) for itemid in unseen} - shown <= {
        fakes.world.own_item(UNSCORED)
    }


@pytest.mark.parametrize("userid", [USER, UNKNOWN_USER])
def test_another_release_repeats_nothing(
    fakes: Fakes, http: FlaskClient, userid: int
) -> None:
    rate = rates(http, userid)

    def switch(page: int, shown: list[Any]) -> None:
        rate(page, shown)
        if page == 1:
            other = replace(
                fakes.world, release="bbbbbbbbbbbb", seed=1, model_version=2
            )
            fakes.add(other)
            fakes.users.activate(other.release)
            fakes.follow()

    user = fakes.world.own_user(userid)
    assert len(pages(http, 5, switch, userid=user)) == 250


@pytest.mark.parametrize("kind", [DefaultWorld], indirect=True)
@pytest.mark.parametrize("down", SERVICES)
def test_pages_go_on_while_a_service_is_away(
    fakes: Fakes, http: FlaskClient, down: str
) -> None:
    def in_turn(page: int, shown: list[Any]) -> None:
        fakes.down(down if page % 2 == 0 else "none")

    assert len(pages(http, 5, in_turn)) == 250


@pytest.mark.parametrize("kind", [DefaultWorld], indirect=True)
def test_a_filter_a_history_and_a_diverse_list_are_paged(
    fakes: Fakes, http: FlaskClient
) -> None:
    where = {"genres": ["Comedy"]}
    assert pages(http, 3, size=20, where=where) == ids(ask(http, size=60, where=where))
    history = [{"itemid": 4, "value": 5}, {"itemid": 10, "value": 4}]
    body: dict[str, Any] = {"userid": None, "history": history, "size": 30}
    assert pages(http, 3, **body) == ids(ask(http, **{**body, "size": 90}))
    assert len(pages(http, 4, diversity=0.5)) == 200


def made(signer: URLSafeSerializer, **more: Any) -> str:
    """A cursor of a list of `USER`."""
    digest = CursorRequest(userid=USER).digest
    fields = {"request": digest, "timestamp": AT, "newest": (0, 0), "release": ""}
    cursor = Cursor(**{**fields, "left": 0, "left_out": [], "page": [], **more})
    with patch.object(Cursor, "signer", signer):
        return cursor.text()


@pytest.mark.parametrize("kind", [DefaultWorld], indirect=True)
def test_a_bad_cursor_is_400(fakes: Fakes, http: FlaskClient) -> None:
    cursor = ask(http, cursor=True, size=20)["cursor"]
    huge = made(Cursor.signer, request="x" * 10_000_000)
    cut = (cursor[:-4], cursor[:-5] + "AAAA=", cursor[1:])
    for bad in ("", "x", "é", 7, huge, *cut):
        assert ask(http, 400, cursor=bad)["error"]["field"] == "cursor", bad
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


@pytest.mark.parametrize("kind", [DefaultWorld], indirect=True)
def test_a_forged_cursor_is_refused_before_it_is_read(
    fakes: Fakes, http: FlaskClient
) -> None:
    long = {"left_out": list(range(1, MAX_SHOWN)), "page": [1, 2]}
    mine = made(Cursor.signer)
    assert len(ids(ask(http, cursor=mine, timestamp=None))) == 50
    too_long = made(Cursor.signer, **long)
    assert ask(http, 400, cursor=too_long, timestamp=None)["error"]["field"] == "cursor"
    another = made(signed_by("another"), **long)
    with patch.object(zlib, "decompress") as read:
        error = ask(http, 400, cursor=another, timestamp=None)["error"]
    assert error["field"] == "cursor"
    assert not read.called


def signed_by(password: str) -> URLSafeSerializer:
    return signer_of(RedisSettings(password=SecretStr(password) if password else None))


def test_the_cursors_key_comes_from_a_password_file(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("one pass")
    in_file = signer_of(RedisSettings(password_file=tmp_path / "password"))
    signed = [
        each.dumps("a list")
        for each in (in_file, *map(signed_by, ("one pass", "another", "")))
    ]
    assert signed[0] == signed[1]
    assert len(set(signed)) == 3
