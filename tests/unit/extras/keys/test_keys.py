from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from data_exchange_center.settings import ServerSettings, Settings
from extras.keys import hook
from extras.keys import store as keys
from extras.keys.store import KeyProblemError
from online.main.s1_server import create_app
from tests.unit.extras.conftest import Fakes

Serve = Callable[..., FlaskClient]
RECOMMEND, EVENT = ("/ml/rec", "POST"), ("/ml/event", "POST")
READS = {RECOMMEND, ("/ml/rank", "POST"), ("/api/session/recommend", "POST")}
EVENTS = {EVENT, ("/api/feedback", "POST"), ("/api/feedback", "PUT")}
HISTORY = ("/ml/history?userid=1", "GET")
STRICT = ("/ml/why-not?userid=1&itemid=1", "GET")
FORGET = ("/ml/user/1", "DELETE")
BODIES = {
    RECOMMEND: {"userid": 1, "size": 1},
    EVENT: {
        **{"eventid": "e1", "userid": 1, "itemid": 1},
        **{"type": "rating", "value": 5, "timestamp": 1},
    },
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys" / "api_keys"


@pytest.fixture
def serve(fakes: Fakes, path: Path) -> Serve:
    def app(**server: Any) -> FlaskClient:
        settings = Settings(server={"keys_file": path, **server})
        return create_app(fakes.recommender, settings, fakes.stores).test_client()

    return app


@pytest.fixture
def guarded(serve: Serve) -> FlaskClient:
    return serve(keys_for="all")


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def status(
    http: FlaskClient, call: tuple[str, str] = RECOMMEND, key: str = "", **headers: str
) -> int:
    address, method = call
    if key:
        headers |= bearer(key)
    body = BODIES.get(call)
    return http.open(address, method=method, json=body, headers=headers).status_code


def calls(http: FlaskClient) -> set[tuple[str, str]]:
    """Every path and method of a server."""
    return {
        (re.sub("<[^>]+>", "1", rule.rule), method)
        for rule in http.application.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }


@pytest.mark.parametrize(
    "authorization",
    [
        *("", "Bearer", "Bearer wrong", "Bearer é", f"Bearer {'x' * 5_000}"),
        *("{key}", "bearer {key}x", "Basic {key}", "Bearer {hash}"),
    ],
)
def test_others_are_not(
    guarded: FlaskClient, path: Path, fakes: Fakes, authorization: str
) -> None:
    key = keys.add(path, "shop")
    digest = keys.hashed(key)
    assert digest in path.read_text()
    headers = {"Authorization": authorization.format(key=key, hash=digest)}
    response = guarded.post("/ml/rec", json=BODIES[RECOMMEND], headers=headers)
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].lower() == "bearer"
    assert response.json["error"]["code"] == "unauthorized"
    assert key not in response.text
    assert fakes.users.calls == []


def test_a_key_is_good_and_good_no_longer_without_a_restart(
    guarded: FlaskClient, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert status(guarded, key="x") == 401
    names = ["kept", "revoked.app"]
    made = [keys.add(path, name) for name in names]
    with caplog.at_level(logging.INFO, "online.access"):
        assert [status(guarded, key=key) for key in made] == [200, 200]
    lines: list[Any] = [each.msg for each in caplog.records]
    assert [line["key"] for line in lines if "key" in line] == names
    assert status(guarded, **{hook.GORSE_HEADER: made[0]}) == 200
    keys.revoke(path, "revoked.app")
    assert [status(guarded, key=key) for key in made] == [200, 401]
    path.unlink()
    assert [status(guarded, key=key) for key in made] == [401, 401]


def test_versions_of_services_need_a_key_where_reads_do(
    guarded: FlaskClient, serve: Serve, path: Path
) -> None:
    def shown(http: FlaskClient, **headers: str) -> set[bool]:
        services = http.get("/readyz", headers=headers).json["services"]
        return {"version" in service for service in services.values()}

    assert shown(guarded) == {False}
    assert shown(guarded, **bearer(keys.add(path, "reader", ["read"]))) == {True}
    assert shown(serve()) == {True}


def test_a_damaged_line_lets_nobody_in_and_keeps_nobody_out(
    guarded: FlaskClient, path: Path
) -> None:
    key = keys.add(path, "good")
    damaged = b"shop nohash\n\x00\n\n\nshop " + b"a" * 64 + b" root\n"
    # as an earlier version wrote it: without scopes
    path.write_bytes(damaged + f"good {keys.hashed(key)}\n".encode())
    assert status(guarded, FORGET, key) == 200
    assert status(guarded, key="nohash") == 401
    path.write_bytes(b"\xff\xfe" + path.read_bytes())  # no text
    assert status(guarded, key=key) == 401


def test_keys_are_long_and_different_and_kept_as_hashes(tmp_path: Path) -> None:
    """In a folder that stays as closed as it was."""
    path = tmp_path / "api_keys"
    tmp_path.chmod(0o700)
    for unfit in ("", "a\nb", "x" * 65, "é", "#x"):
        with pytest.raises(KeyProblemError):
            keys.add(path, unfit)
    assert not path.exists()
    made = {keys.add(path, f"n{number}") for number in range(20)}
    assert len(made) == 20
    assert min(map(len, made)) >= 43 + len(keys.KEY_PREFIX)
    assert not any(key in path.read_text() for key in made)
    modes = [each.stat().st_mode & 0o777 for each in (path, tmp_path)]
    assert modes == [0o644, 0o700]


def test_the_command_prints_a_key_once(tmp_path: Path) -> None:
    def command(*arguments: str, code: int = 0) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "extras.keys", *arguments],
            env={**os.environ, "RECSYS_EXCHANGE_DIR": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code
        assert "Traceback" not in done.stderr
        return done.stdout

    key, *_ = command("--name", "shop", "--scope", "read,events").splitlines()
    assert re.fullmatch(r"recsys_[\w-]{43}", key)
    assert command() == "shop events,read\n"
    command("--name", "shop", code=1)
    command("--name", "other", "--scope", "write", code=1)
    found = keys.Keys(tmp_path / "online/keys/api_keys").owner(key)
    assert found is not None
    assert (found.name, found.scopes) == ("shop", {"events", "read"})
    # the way back to a server without keys
    assert "api_keys was revoked" in command("--revoke", "shop")
    assert "make api-key name=" in command()


@pytest.mark.parametrize(
    ("server", "warnings"),
    [
        ({}, 0),
        ({"keys_for": "writes"}, 0),
        ({"host": "0.0.0.0"}, 1),
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


@pytest.mark.parametrize(
    "server", [{"host": "0.0.0.0"}, {"proxies": 1}, {"keys_for": "all"}], ids=str
)
def test_a_closed_server_without_keys_answers_nobody(
    serve: Serve, path: Path, server: dict[str, Any]
) -> None:
    http = serve(**server)
    reads = ["/ml/users", "/metrics", "/nowhere", "/healthz", "/readyz"]
    refused = [status(http, (read, "GET")) for read in reads]
    assert refused == [401, 401, 401, 200, 200]
    assert {status(http, call) for call in (EVENT, RECOMMEND, HISTORY, STRICT)} == {401}
    assert status(http, key=keys.add(path, "reader", ["read"])) == 200


def test_an_open_server_may_let_anybody_read_but_not_write(
    serve: Serve, path: Path
) -> None:
    http = serve(host="0.0.0.0", keys_for="writes")
    found = [status(http, call) for call in (RECOMMEND, HISTORY, EVENT, STRICT)]
    assert found == [200, 200, 401, 403]
    assert status(http, STRICT, keys.add(path, "shop", ["read"])) == 200


def test_each_scope_opens_its_own_paths_only(
    serve: Serve, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # a server without them answers 403 to every key
    monkeypatch.setenv("RECSYS_SERVER__FAULTS", "on")
    http = serve(keys_for="all")
    guarded = {call for call in calls(http) if not hook.is_public(call[0])}
    reads = READS | {call for call in guarded if call[1] == "GET"}
    assert FORGET in guarded - reads - EVENTS
    allowed = {
        "read": reads,
        "events": EVENTS,
        "read,events": reads | EVENTS,
        "admin": guarded,
    }
    for scopes, expected in allowed.items():
        key = keys.add(path, scopes.replace(",", "-"), scopes.split(","))
        found = {call for call in guarded if status(http, call, key) not in (401, 403)}
        assert found == expected, scopes


def test_events_need_no_key_again_once_the_file_is_deleted(
    serve: Serve, path: Path
) -> None:
    http = serve()
    writes = [call for call in calls(http) if call[1] != "GET"]
    open_to_all = {call for call in writes if status(http, call) != 401}
    assert open_to_all == READS | EVENTS
    keys.add(path, "only")
    open_to_all = {call for call in writes if status(http, call) != 401}
    assert open_to_all == READS
    assert keys.revoke(path, "only") == 0
    assert status(http, EVENT) == 401
    path.unlink()
    assert status(http, EVENT) == 200


def test_two_processes_do_not_undo_each_others_changes(path: Path) -> None:
    keys.add(path, "first")
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda n: keys.add(path, f"n{n}"), range(16)))
        list(threads.map(lambda n: keys.revoke(path, f"n{n}"), range(16)))
    assert list(keys.read(path)) == ["first"]
