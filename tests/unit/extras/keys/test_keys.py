from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from data_exchange_center.settings import ServerSettings, Settings
from extras.keys import hook as keys
from extras.keys.hook import KeyProblemError
from online.main.s1_server import create_app
from tests.unit.extras.conftest import Fakes


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys" / "api_keys"


def app(fakes: Fakes, path: Path, **server: Any) -> Flask:
    return create_app(fakes.recommender, Settings(server={"keys_file": path, **server}), fakes.stores)


@pytest.fixture
def guarded(fakes: Fakes, path: Path) -> FlaskClient:
    return app(fakes, path, keys_for="all").test_client()


def asked(http: FlaskClient, authorization: str | None = None, path: str = "/ml/rec") -> Any:
    headers = {"Authorization": authorization} if authorization is not None else {}
    return http.post(path, json={"userid": 1, "size": 1}, headers=headers)


def test_a_known_key_is_named_in_the_log(guarded: FlaskClient, path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first, second = keys.add(path, "shop"), keys.add(path, "phone.app")
    with caplog.at_level(logging.INFO, "online.access"):
        assert [asked(guarded, f"Bearer {key}").status_code for key in (first, second)] == [200, 200]
    lines = [record.facts["key"] for record in caplog.records if record.name == "online.access"]  # type: ignore[attr-defined]
    assert lines == ["shop", "phone.app"]


@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", "Bearer ", "Bearer wrong", "Basic dTpw", "Bearer é", "Bearer " + "x" * 5_000, "{key}",
     "bearer {key}x", "Basic {key}", "Bearer {hash}"],
)  # fmt: skip
def test_others_are_not(guarded: FlaskClient, path: Path, fakes: Fakes, authorization: str | None) -> None:
    key = keys.add(path, "shop")
    told = {"key": key, "hash": keys.hashed(key)}
    assert told["hash"] in path.read_text()
    response = asked(guarded, authorization.format_map(told) if authorization is not None else None)
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


def test_a_key_is_good_and_good_no_longer_without_a_restart(guarded: FlaskClient, path: Path) -> None:
    assert asked(guarded, "Bearer x").status_code == 401
    kept, revoked = keys.add(path, "kept"), keys.add(path, "revoked")
    assert [asked(guarded, f"Bearer {key}").status_code for key in (kept, revoked)] == [200, 200]
    keys.revoke(path, "revoked")
    assert [asked(guarded, f"Bearer {key}").status_code for key in (kept, revoked)] == [200, 401]
    path.unlink()
    assert asked(guarded, f"Bearer {kept}").status_code == 401


def test_health_is_open_to_all(guarded: FlaskClient) -> None:
    assert guarded.get("/healthz").status_code == 200
    assert guarded.get("/readyz").status_code == 200
    for path in ("/metrics", "/nowhere", "/ml/rec"):
        assert guarded.get(path).status_code == 401


def test_all_that_writes_needs_a_key_but_for_events_until_a_first_one_is_handed_out(fakes: Fakes, path: Path) -> None:
    http = app(fakes, path).test_client()
    writes = [
        (re.sub("<[^>]+>", "1", rule.rule), method)
        for rule in http.application.url_map.iter_rules()
        for method in (rule.methods or set()) & {"POST", "PUT", "PATCH", "DELETE"}
    ]

    def open_to_all() -> set[tuple[str, str]]:
        return {(to, method) for to, method in writes if http.open(to, method=method).status_code != 401}

    reads = {("/ml/rec", "POST"), ("/ml/rank", "POST"), ("/api/session/recommend", "POST")}
    assert open_to_all() == reads | {("/ml/event", "POST"), ("/api/feedback", "POST"), ("/api/feedback", "PUT")}
    keys.add(path, "writer")
    assert open_to_all() == reads
    assert http.post("/nowhere").status_code == 404


@pytest.mark.parametrize("content", ["shop\n", "shop nohash\n", "\x00\n", "shop " + "A" * 64 + "\n", "\n\n"])
def test_a_damaged_line_lets_nobody_in_and_keeps_nobody_out(guarded: FlaskClient, path: Path, content: str) -> None:
    key = keys.add(path, "good")
    path.write_text(content + path.read_text())
    assert asked(guarded, f"Bearer {key}").status_code == 200
    assert asked(guarded, "Bearer nohash").status_code == 401


def test_a_file_that_is_no_text_lets_nobody_in(guarded: FlaskClient, path: Path) -> None:
    key = keys.add(path, "good")
    path.write_bytes(b"\xff\xfe" + path.read_bytes())
    assert asked(guarded, f"Bearer {key}").status_code == 401


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
        env={**os.environ, "RECSYS_EXCHANGE_DIR": str(tmp_path)}, capture_output=True, text=True,
    )  # fmt: skip


def test_the_command_prints_a_key_once(tmp_path: Path) -> None:
    made = command(tmp_path, "--name", "shop")
    key = made.stdout.splitlines()[0]
    assert re.fullmatch(r"recsys_[\w-]{43}", key)
    listed = command(tmp_path)
    assert listed.stdout == "shop\n"
    again = command(tmp_path, "--name", "shop")
    assert again.returncode == 1
    assert "Traceback" not in again.stderr
    assert keys.Keys(tmp_path / "online/keys/api_keys").owner(key) == "shop"
    command(tmp_path, "--revoke", "shop")
    assert "was revoked, and what writes still needs one" in command(tmp_path).stdout


@pytest.mark.parametrize(
    ("host", "said"), [("127.0.0.1", 0), ("localhost", 0), ("::1", 0), ("0.0.0.0", 1), ("10.0.0.1", 1)]
)
@pytest.mark.parametrize("keys_for", ["writes", "all"])
def test_a_server_open_to_others_says_so(caplog: pytest.LogCaptureFixture, host: str, said: int, keys_for: str) -> None:
    keys.warn_if_open(ServerSettings(host=host, keys_for=keys_for))
    assert len(caplog.records) == (said if keys_for == "writes" else 0)
