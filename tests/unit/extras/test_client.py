from __future__ import annotations

import io
import shlex
import socket
from typing import Any

import pytest
from flask.testing import FlaskClient
from rich.console import Console

from data_exchange_center.dataset import OwnId
from data_exchange_center.errors import RecsysError
from data_exchange_center.settings import Settings
from extras.client import Client, ServerError
from online.main import s2_client
from online.main.s2_client import as_curl, ask, render
from online.recommend.types import Request
from online.web.guard import validated
from tests.unit.extras.conftest import BOTH_KINDS, Fakes, serving
from tests.unit.online.world import AT, STRANGE_IDS, UNKNOWN_USER


def shown(answer: dict[str, object]) -> str:
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(render(answer))
    return console.export_text()


@BOTH_KINDS
def test_an_explained_answer_shows_ranks_and_reason(url: str, fakes: Fakes) -> None:
    answer = ask(url, {"userid": 8, "size": 5, "timestamp": AT, "explain": True})
    text = shown(answer)
    fused = fakes.world.recalled(8).ids.tolist()
    assert "# fused" in text
    for channel in fakes.world.recipe.recall.channels:
        assert f"# {channel.name}" in text
    for item in answer["item_list"]:
        line = next(line for line in text.splitlines() if item["title"] in line)
        assert str(fused.index(item["itemid"]) + 1) in line.split()
    words = set(text.split())
    assert all(
        set(each["reason"]["sentence"]["en"].split()) <= words
        for each in answer["explained"]
    )


def test_an_answer_that_is_not_personal_says_why(url: str) -> None:
    answer = ask(f"{url}/", {"userid": UNKNOWN_USER, "size": 5})
    assert answer["reason"] in shown(answer)
    assert "popular" in answer["reason"]


def test_no_proxy_is_used(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert ask(url, {"userid": 8, "size": 5})["item_list"]


@pytest.mark.parametrize(
    ("typed", "requested"),
    [
        ("7", 7),
        ("u-8f3a", "u-8f3a"),
        ('"7"', "7"),
        ("-7", "-7"),
        ("\u0667", "\u0667"),
        ('"', '"'),
        ("a b", "a b"),
    ],
)
def test_a_userid_is_a_number_or_a_string_as_it_is_typed(
    typed: str, requested: OwnId
) -> None:
    assert s2_client.userid(typed) == requested
    assert type(s2_client.userid(typed)) is type(requested)


@pytest.mark.parametrize("userid", [1, *STRANGE_IDS])
def test_a_shell_reads_the_curl_as_it_is_meant(userid: OwnId) -> None:
    program, option, body, address = shlex.split(
        as_curl("http://127.0.0.1:5000/", userid)
    )
    assert (program, option, address) == ("curl", "-d", "http://127.0.0.1:5000/ml/rec")
    assert validated(body.encode(), Request.model_validate_json).userid == userid


def test_items_without_titles_and_any_attributes_are_shown() -> None:
    first = {
        "itemid": "sku [1]",
        "score": 0.5,
        "title": "sku [1]",
        "brand": ["a", "b"],
        "price": 9.5,
        "[w]": None,
    }
    answer = {
        "userid": "u [1]",
        "release": "r",
        "item_list": [first],
        "took_ms": {"triton": 1.5},
    }
    text = shown(answer)
    parts = (
        "For user u [1]|release r|sku [1]|0.5|brand|a, b|price|9.5|[w]|triton 1.5 ms"
    )
    for part in parts.split("|"):
        assert part in text
    assert "None" not in text
    assert "genres" not in text


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://127.0.0.1:9", r"No server answers at http://127\.0\.0\.1:9\."),
        ("nonsense", "not a usable address"),
    ],
)
def test_where_no_server_is_it_is_one_sentence(url: str, said: str) -> None:
    with pytest.raises(RecsysError, match=said):
        ask(url, {"userid": 1, "size": 50})


def test_server_errors_are_shown_and_other_servers_detected(
    url: str, fakes: Fakes
) -> None:
    fakes.users.down = True
    with pytest.raises(RecsysError, match="503: redis"):
        ask(url, {"userid": 1, "size": 50, "strict": True})
    elsewhere = serving(lambda environ, start: (start("200 OK", []), [b"<html>"])[1])
    with elsewhere as address, Client(address) as client:
        with pytest.raises(RecsysError, match="not this server"):
            ask(address, {"userid": 1, "size": 50})
        with pytest.raises(ServerError, match="not this server"):
            client.recommend(1)


def test_the_calls_of_the_client(url: str, fakes: Fakes) -> None:
    with Client(url) as client:
        found = client.recommend(8, size=5, explain=True)
        assert (found.userid, len(found.item_list)) == (8, 5)
        assert len(found.explained) == 5  # type: ignore[attr-defined]  # an extra's field
        ids = found.itemids
        assert (
            client.recommend(
                history=[{"itemid": ids[0], "type": "rating", "value": 5}], size=3
            ).userid
            == 0
        )
        assert sorted(client.rank(ids, 8).itemids) == sorted(ids)  # type: ignore[type-var]
        assert ids[0] not in [
            item.itemid for item in client.similar(ids[0], size=3).item_list
        ]
        event = {
            "eventid": "a",
            "userid": 8,
            "itemid": ids[0],
            "type": "rating",
            "value": 5,
        }
        assert [each.new for each in client.record(event, event)] == [True, False]
        with pytest.raises(ServerError, match="size: ") as refused:
            client.recommend(8, size=201)
        assert (refused.value.status, refused.value.field) == (400, "size")


def test_items_are_changed_with_a_key(with_a_key: FlaskClient, fakes: Fakes) -> None:
    new, key = (
        fakes.world.own_item(999_001),
        with_a_key.environ_base["HTTP_AUTHORIZATION"].removeprefix("Bearer "),
    )
    settings = Settings(server={"key": key}).server
    with (
        serving(with_a_key.application) as address,
        Client.of(settings, address) as client,
    ):
        added = client.add_item(new, "A new one")
        assert (added.itemid, added.title) == (new, "A new one")
        assert client.change_item(new, title="Another name").title == "Another name"
        assert client.remove_item(new).title is None
        assert client.add_items({"itemid": new, "title": "Back again"}) == [new]
        assert client.remove_items(new) == [new]
    with serving(with_a_key.application) as address, Client(address) as client:
        with pytest.raises(ServerError, match="401") as refused:
            client.remove_item(new)
        assert refused.value.status == 401


def test_busy_servers_are_retried_and_slow_ones_time_out() -> None:
    answers = iter(["503 Service Unavailable", "429 Too Many Requests", "200 OK"])
    sent = []

    def application(environ: dict[str, Any], start: Any) -> list[bytes]:
        sent.append(environ["REQUEST_METHOD"])
        start(next(answers), [("Retry-After", "0")])
        return [b'{"release": "r", "item_list": []}']

    with serving(application) as address, Client(address) as client:
        assert client.similar(1).release == "r"
        assert sent == ["GET"] * 3
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        Client(retries=1, timeout_s=0.1) as client,
    ):
        client.url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(ServerError, match=r"did not answer within 0\.1 s"):
            client.similar(1)
