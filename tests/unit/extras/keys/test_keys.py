from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from data_exchange_center.settings import ServerSettings, Settings
from extras.keys import hook
from extras.keys import store as keys
from extras.keys.store import KeyProblemError
from online.main.s1_server import create_app
from tests.unit.extras.conftest import Fakes


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys" / "api_keys"


def app(fakes: Fakes, path: Path, **server: Any) -> Flask:
    return create_app(
        fakes.recommender, Settings(server={"keys_file": path, **server}), fakes.stores
    )


@pytest.fixture
def guarded(fakes: Fakes, path: Path) -> FlaskClient:
    return app(fakes, path, keys_for="all").test_client()


def requested(
    http: FlaskClient, authorization: str | None = None, path: str = "/ml/rec"
) -> Any:
    headers = {"Authorization": authorization} if authorization is not None else {}
    return http.post(path, json={"userid": 1, "size": 1}, headers=headers)


def test_a_known_key_is_named_in_the_log(
    guarded: FlaskClient, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = keys.add(path, "shop"), keys.add(path, "phone.app")
    with caplog.at_level(logging.INFO, "online.access"):
        assert [
            requested(guarded, f"Bearer {key}").status_code for key in (first, second)
        ] == [200, 200]
    lines = [
        record.msg["key"] for record in caplog.records if record.name == "online.access"
    ]  # type: ignore[index]
    assert lines == ["shop", "phone.app"]


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer wrong",
        "Basic dTpw",
        "Bearer é",
        "Bearer " + "x" * 5_000,
        "{key}",
        "bearer {key}x",
        "Basic {key}",
        "Bearer {hash}",
    ],
)
def test_others_are_not(
    guarded: FlaskClient, path: Path, fakes: Fakes, authorization: str | None
) -> None:
    key = keys.add(path, "shop")
    reported = {"key": key, "hash": keys.hashed(key)}
    assert reported["hash"] in path.read_text()
    response = requested(
        guarded,
        authorization.format_map(reported) if authorization is not None else None,
    )
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].lower() == "bearer"
    assert set(response.json["error"]) == {"code", "message"}
    assert response.json["error"]["code"] == "unauthorized"
    assert key not in response.text
    assert fakes.users.calls == []


def test_a_folder_that_was_there_stays_as_closed_as_it_was(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    keys.add(tmp_path / "api_keys", "shop")
    assert tmp_path.stat().st_mode & 0o777 == 0o700


def test_a_key_is_good_and_good_no_longer_without_a_restart(
    guarded: FlaskClient, path: Path
) -> None:
    assert requested(guarded, "Bearer x").status_code == 401
    kept, revoked = keys.add(path, "kept"), keys.add(path, "revoked")
    assert [
        requested(guarded, f"Bearer {key}").status_code for key in (kept, revoked)
    ] == [200, 200]
    keys.revoke(path, "revoked")
    assert [
        requested(guarded, f"Bearer {key}").status_code for key in (kept, revoked)
    ] == [200, 401]
    path.unlink()
    assert requested(guarded, f"Bearer {kept}").status_code == 401


def test_versions_of_services_need_a_key_where_reads_do(
    guarded: FlaskClient, fakes: Fakes, path: Path
) -> None:
    def shown(http: FlaskClient, **headers: str) -> set[bool]:
        return {
            "version" in service
            for service in http.get("/readyz", headers=headers)
            .json["services"]
            .values()
        }

    assert shown(guarded) == {False}
    assert shown(guarded, **bearer(keys.add(path, "reader", ["read"]))) == {True}
    assert shown(app(fakes, path).test_client()) == {True}


def test_writes_need_a_key_and_events_once_a_key_exists(
    fakes: Fakes, path: Path
) -> None:
    http = app(fakes, path).test_client()
    writes = [
        (re.sub("<[^>]+>", "1", rule.rule), method)
        for rule in http.application.url_map.iter_rules()
        for method in (rule.methods or set()) & {"POST", "PUT", "PATCH", "DELETE"}
    ]

    def open_to_all() -> set[tuple[str, str]]:
        return {
            (to, method)
            for to, method in writes
            if http.open(to, method=method).status_code != 401
        }

    reads = {
        ("/ml/rec", "POST"),
        ("/ml/rank", "POST"),
        ("/api/session/recommend", "POST"),
    }
    assert open_to_all() == reads | {
        ("/ml/event", "POST"),
        ("/api/feedback", "POST"),
        ("/api/feedback", "PUT"),
    }
    keys.add(path, "writer")
    assert open_to_all() == reads
    assert http.post("/nowhere").status_code == 404


@pytest.mark.parametrize(
    "content",
    [
        "shop\n",
        "shop nohash\n",
        "\x00\n",
        "shop " + "A" * 64 + "\n",
        "\n\n",
        "shop " + "a" * 64 + " root\n",
    ],
)
def test_a_damaged_line_lets_nobody_in_and_keeps_nobody_out(
    guarded: FlaskClient, path: Path, content: str
) -> None:
    key = keys.add(path, "good")
    path.write_text(content + path.read_text())
    assert requested(guarded, f"Bearer {key}").status_code == 200
    assert requested(guarded, "Bearer nohash").status_code == 401


def test_a_file_that_is_no_text_lets_nobody_in(
    guarded: FlaskClient, path: Path
) -> None:
    key = keys.add(path, "good")
    path.write_bytes(b"\xff\xfe" + path.read_bytes())
    assert requested(guarded, f"Bearer {key}").status_code == 401


def test_keys_are_long_and_different_and_kept_as_hashes(path: Path) -> None:
    made = [keys.add(path, f"n{number}") for number in range(20)]
    assert len(set(made)) == 20
    assert min(map(len, made)) >= 43 + len(keys.KEY_PREFIX)
    assert not any(key in path.read_text() for key in made)
    assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("name", ["", "a b", "a\nb", "x" * 65, "é", "#x"])
def test_an_unfit_name_is_refused(path: Path, name: str) -> None:
    with pytest.raises(KeyProblemError):
        keys.add(path, name)
    assert not path.exists()


def command(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "extras.keys", *arguments],
        env={**os.environ, "RECSYS_EXCHANGE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
    )


def test_the_command_prints_a_key_once(tmp_path: Path) -> None:
    made = command(tmp_path, "--name", "shop", "--scope", "read,events")
    key = made.stdout.splitlines()[0]
    assert re.fullmatch(r"recsys_[\w-]{43}", key)
    listed = command(tmp_path)
    again = command(tmp_path, "--name", "shop")
    assert again.returncode == 1
    assert "Traceback" not in again.stderr
    assert listed.stdout == "shop events,read\n"
    assert again.returncode == 1
    found = keys.Keys(tmp_path / "online/keys/api_keys").owner(key)
    assert found is not None
    assert (found.name, found.scopes) == ("shop", {"events", "read"})
    wrong = command(tmp_path, "--name", "other", "--scope", "write")
    assert wrong.returncode == 1
    assert "Traceback" not in wrong.stderr
    # the way back to a server without keys
    assert "api_keys was revoked" in command(tmp_path, "--revoke", "shop").stdout
    assert "make api-key name=" in command(tmp_path).stdout


@pytest.mark.parametrize(
    ("server", "warnings"),
    [
        ({}, 0),
        ({"host": "localhost"}, 0),
        ({"host": "::1"}, 0),
        ({"keys_for": "writes"}, 0),
        ({"host": "0.0.0.0"}, 1),
        ({"host": "10.0.0.1", "keys_for": "all"}, 1),
        ({"proxies": 1}, 1),
        ({"host": "0.0.0.0", "keys_for": "writes"}, 2),
        ({"host": "0.0.0.0", "published_on": "127.0.0.1"}, 0),
    ],
    ids=str,
)
def test_an_open_server_warns(
    caplog: pytest.LogCaptureFixture, path: Path, server: dict[str, Any], warnings: int
) -> None:
    hook.warn_if_open(ServerSettings(**server), keys.Keys(path))
    assert len(caplog.records) == warnings


# --- servers that other machines reach, and scopes

EVENT = {
    "eventid": "e1",
    "userid": 1,
    "itemid": 1,
    "type": "rating",
    "value": 5,
    "timestamp": 1,
}


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@pytest.mark.parametrize(
    "server", [{"host": "0.0.0.0"}, {"proxies": 1}, {"keys_for": "all"}], ids=str
)
def test_a_closed_server_without_keys_answers_nobody(
    fakes: Fakes, path: Path, server: dict[str, Any]
) -> None:
    http = app(fakes, path, **server).test_client()
    assert http.post("/ml/event", json=EVENT).status_code == 401
    assert requested(http).status_code == 401
    for read in (
        "/ml/history?userid=1",
        "/ml/users",
        "/metrics",
        "/nowhere",
        "/ml/why-not?userid=1&itemid=1",
    ):
        assert http.get(read).status_code == 401
    for health in ("/healthz", "/readyz"):
        assert http.get(health).status_code == 200
    assert (
        requested(http, f"Bearer {keys.add(path, 'reader', ['read'])}").status_code
        == 200
    )


def test_an_open_server_may_let_anybody_read_but_not_write(
    fakes: Fakes, path: Path
) -> None:
    http = app(fakes, path, host="0.0.0.0", keys_for="writes").test_client()
    assert requested(http).status_code == 200
    assert http.get("/ml/history?userid=1").status_code == 200
    assert http.post("/ml/event", json=EVENT).status_code == 401
    # a strict request
    assert http.get("/ml/why-not?userid=1&itemid=1").status_code == 403
    key = keys.add(path, "shop", ["read"])
    assert (
        http.get("/ml/why-not?userid=1&itemid=1", headers=bearer(key)).status_code
        == 200
    )


def test_each_scope_opens_its_own_paths_only(
    fakes: Fakes, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # a server without them answers 403 to every key
    monkeypatch.setenv("RECSYS_SERVER__FAULTS", "on")
    http = app(fakes, path, keys_for="all").test_client()
    reads, admin = (
        {("/ml/rec", "POST"), ("/ml/rank", "POST"), ("/api/session/recommend", "POST")},
        set(),
    )
    events = {
        ("/ml/event", "POST"),
        ("/api/feedback", "POST"),
        ("/api/feedback", "PUT"),
    }
    for rule in http.application.url_map.iter_rules():
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
            address = re.sub("<[^>]+>", "1", rule.rule)
            if method == "GET" and not hook.is_public(address):
                reads.add((address, method))
            elif method != "GET" and (address, method) not in reads | events:
                admin.add((address, method))
    assert ("/ml/user/1", "DELETE") in admin
    allowed = {
        "read": reads,
        "events": events,
        "read,events": reads | events,
        "admin": reads | events | admin,
    }
    for scopes, expected in allowed.items():
        headers = bearer(keys.add(path, scopes.replace(",", "-"), scopes.split(",")))
        found = {
            each
            for each in reads | events | admin
            if http.open(each[0], method=each[1], headers=headers).status_code
            not in (401, 403)
        }
        assert found == expected, scopes


def test_a_key_of_an_earlier_file_has_every_scope(fakes: Fakes, path: Path) -> None:
    http, key = app(fakes, path).test_client(), keys.add(path, "old")
    path.write_text(f"old {keys.hashed(key)}\n")
    assert http.delete("/ml/user/1", headers=bearer(key)).status_code == 200


def test_events_need_no_key_again_once_the_file_is_deleted(
    fakes: Fakes, path: Path
) -> None:
    http = app(fakes, path).test_client()
    assert http.post("/ml/event", json=EVENT).status_code == 200
    keys.add(path, "only")
    assert http.post("/ml/event", json=EVENT).status_code == 401
    assert keys.revoke(path, "only") == 0
    assert http.post("/ml/event", json=EVENT).status_code == 401
    path.unlink()
    assert http.post("/ml/event", json=EVENT).status_code == 200


def test_two_processes_do_not_undo_each_others_changes(path: Path) -> None:
    keys.add(path, "first")
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda n: keys.add(path, f"n{n}"), range(16)))
        list(threads.map(lambda n: keys.revoke(path, f"n{n}"), range(16)))
    assert list(keys.read(path)) == ["first"]


def test_a_cross_site_write_needs_a_key(fakes: Fakes, path: Path) -> None:
    http = app(fakes, path).test_client()
    site = {"Sec-Fetch-Site": "same-site", "Origin": "http://localhost:8080"}
    assert http.post("/ml/event", json=EVENT, headers=site).status_code == 403
    key = keys.add(path, "shop", ["events"])
    assert (
        http.post("/ml/event", json=EVENT, headers={**site, **bearer(key)}).status_code
        == 200
    )
