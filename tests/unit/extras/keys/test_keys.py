from __future__ import annotations

import logging
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from pydantic import ValidationError

from data_exchange_center.settings import REDIS_SOCKET, ServerSettings, Settings
from extras.keys import hook
from extras.keys import store as keys
from extras.keys.store import KeyProblemError
from online.main.s1_server import create_app
from tests.free_ports import free_ports
from tests.unit.extras.conftest import Fakes
from tests.unit.online.trickling import service

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
    return partial(fakes.client, keys_file=path)


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


def limited(
    fakes: Fakes, redis: dict[str, Any] | None = None, **server: Any
) -> FlaskClient:
    """Over a Redis that is not there, or the given one: the process counts by itself."""
    settings = Settings(
        server={"host": "0.0.0.0", "keys_for": "writes", **server},
        redis={"port": free_ports(1)[0], **(redis or {})},
    )
    return create_app(fakes.recommender, settings).test_client()


def requested(http: FlaskClient, address: str = "10.0.0.1", **headers: str) -> Any:
    own = {"REMOTE_ADDR": address}
    return http.post("/ml/rec", json={"userid": 1}, environ_base=own, headers=headers)


def statuses(http: FlaskClient, count: int) -> list[int]:
    """Of requests of one client."""
    return [requested(http).status_code for _ in range(count)]


def test_rate_limited_clients_get_retry_after(fakes: Fakes) -> None:
    http = limited(fakes, rate="3/day")
    assert statuses(http, 3) == [200] * 3
    refused = requested(http)
    assert refused.status_code == 429
    assert refused.json["error"]["code"] == "too_many_requests"
    assert "3 per 1 day" in refused.json["error"]["message"]
    assert 0 <= int(refused.headers["Retry-After"]) <= 86_400
    assert requested(http, "10.0.0.2").status_code == 200
    own = {"REMOTE_ADDR": "10.0.0.1"}
    assert http.get("/healthz", environ_base=own).status_code == 200
    page = http.get("/metrics", environ_base=own).text
    assert 'outcome="too_many_requests",status="429"' in page


def test_server_starts_without_the_rate_limit_cluster(fakes: Fakes) -> None:
    http = limited(fakes, {"cluster": True}, rate="3/day")
    assert statuses(http, 4) == [200, 200, 200, 429]


@pytest.mark.parametrize("socket_dir", [True, False], ids=["socket", "port"])
def test_a_trickling_redis_does_not_delay_requests(
    socket_dir: bool, fakes: Fakes, tmp_path: Path
) -> None:
    path = tmp_path / REDIS_SOCKET if socket_dir else None
    with service(b"+" + b"O" * 1_000, path) as port:  # for twenty seconds
        redis = {"socket_dir": tmp_path} if socket_dir else {"port": port}
        http = limited(fakes, redis, rate="3/day")
        began = time.perf_counter()
        assert statuses(http, 4) == [200, 200, 200, 429]
        assert time.perf_counter() - began < 5


def test_a_silent_redis_does_not_delay_every_request(fakes: Fakes) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=100) as silent:
        http = limited(fakes, {"port": silent.getsockname()[1]}, rate="30/day")
        assert statuses(http, 31) == [200] * 30 + [429]
        silent.setblocking(False)
        requested_redis = 0
        with suppress(BlockingIOError):
            while True:
                silent.accept()[0].close()
                requested_redis += 1
    # once for the first request, and looks, more and more seldom, whether it is back
    assert 1 <= requested_redis <= 30


def test_without_the_setting_nobody_is_counted(fakes: Fakes) -> None:
    http = limited(fakes)
    answers = [requested(http) for _ in range(50)]
    assert {answer.status_code for answer in answers} == {200}
    assert not any("RateLimit" in name for name, _ in answers[0].headers)


@pytest.mark.parametrize(
    ("proxies", "expected"), [(0, [200, 429, 429]), (1, [200, 200, 429])]
)
def test_a_forwarded_address_counts_behind_a_proxy_alone(
    fakes: Fakes, proxies: int, expected: list[int]
) -> None:
    http = limited(fakes, rate="1/day", proxies=proxies)
    reported = [
        {"X-Forwarded-For": "1.1.1.1"},
        {"X-Forwarded-For": "2.2.2.2"},
        {"X-Forwarded-For": "3.3.3.3, 2.2.2.2"},
    ]
    assert [requested(http, **headers).status_code for headers in reported] == expected


def test_limits_count_by_key_or_address(fakes: Fakes, tmp_path: Path) -> None:
    path = tmp_path / "keys" / "api_keys"
    shop, namesake = keys.add(path, "shop"), keys.add(path, "10.0.0.9")
    http = limited(fakes, rate="1/day", keys_file=path)
    closed = limited(fakes, rate="1/day", keys_for="all", keys_file=path)
    wrong = [requested(closed, Authorization=f"Bearer {n}") for n in range(2)]
    assert [answer.status_code for answer in wrong] == [401, 429]

    def status(address: str, key: str = "") -> int:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return requested(http, address, **headers).status_code

    assert [status("10.0.0.1", shop), status("10.0.0.2", shop)] == [200, 429]
    assert [status("10.0.0.1"), status("10.0.0.1", "recsys_nobodys")] == [200, 429]
    assert [status("10.0.0.3", namesake), status("10.0.0.9")] == [200, 200]


@pytest.mark.parametrize("rate", ["20", "0/second", "20/second;", "20/fortnight"])
def test_an_invalid_limit_is_refused_by_the_settings(rate: str) -> None:
    assert ServerSettings(rate="20/second; 1000/hour").rate
    with pytest.raises(ValidationError, match="no limit of requests"):
        ServerSettings(rate=rate)
