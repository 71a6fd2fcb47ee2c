from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from data_exchange_center.settings import Settings
from online.main.s1_server import create_app
from tests.unit.online.conftest import Fakes

OPEN = "0.0.0.0"


def client(fakes: Fakes, **server: Any) -> FlaskClient:
    return create_app(fakes.recommender, Settings(server={"extras": "none", **server})).test_client()


def code(http: FlaskClient, host: str = "localhost", address: str = "127.0.0.1", **body: Any) -> Any:
    more: Any = {"headers": {"Host": host}, "environ_base": {"REMOTE_ADDR": address}}
    response = http.post("/ml/rec", json={"userid": 1, **body}, **more)
    return 200 if response.status_code == 200 else (response.status_code, response.json["error"]["code"])


@pytest.mark.parametrize(
    ("server", "host", "expected"),
    [
        ({}, "localhost:5000", 200),
        ({"host": OPEN}, "shop.example", 200),
        ({"proxies": 1}, "shop.example", 200),
        ({"host": OPEN, "allowed_hosts": "shop.example, .b.example"}, "shop.example:80", 200),
        ({"host": OPEN, "allowed_hosts": "shop.example, .b.example"}, "a.b.example", 200),
        ({"host": OPEN, "allowed_hosts": "shop.example, .b.example"}, "127.0.0.1", (400, "unknown_host")),
    ],
)
def test_a_server_answers_to_its_own_names(fakes: Fakes, server: dict[str, Any], host: str, expected: object) -> None:
    assert code(client(fakes, **server), host) == expected


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:5000", "10.0.0.1"])
def test_under_another_hosts_name_nothing_is_answered(fakes: Fakes, host: str) -> None:
    """A page that is open on this machine may give its own name this machine's address."""
    http = client(fakes)
    for path in ("/healthz", "/readyz", "/metrics", "/", "/nowhere"):
        response = http.get(path, headers={"Host": host})
        assert (response.status_code, response.json["error"]["code"]) == (400, "unknown_host")


@pytest.mark.parametrize(
    ("server", "address", "expected"),
    [
        ({}, "127.0.0.2", 200),
        ({}, "10.0.0.7", (403, "forbidden")),
        ({"proxies": 1}, "10.0.0.7", 200),
        ({"host": OPEN}, "10.0.0.7", 200),
    ],
)
def test_an_open_server_answers_others(fakes: Fakes, server: dict[str, Any], address: str, expected: object) -> None:
    """Flask's own server listens where its command line says: `flask run --host=0.0.0.0`."""
    assert code(client(fakes, **server), address=address) == expected


def test_a_strict_request_to_an_open_server_needs_a_key_or_a_setting(fakes: Fakes) -> None:
    assert code(client(fakes), strict=True) == 200
    assert code(client(fakes, host=OPEN), strict=True) == (403, "forbidden")
    assert code(client(fakes, host=OPEN)) == 200
    assert code(client(fakes, host=OPEN, strict_for="all"), strict=True) == 200
