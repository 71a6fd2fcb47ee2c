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


NAMES = {"host": OPEN, "allowed_hosts": "shop.example, .b.example"}


@pytest.mark.parametrize(
    ("server", "sent", "expected"),
    [
        # names of the server
        ({}, {"host": "localhost:5000"}, 200),
        ({"host": OPEN}, {"host": "shop.example"}, 200),
        ({"proxies": 1}, {"host": "shop.example"}, 200),
        (NAMES, {"host": "shop.example:80"}, 200),
        (NAMES, {"host": "a.b.example"}, 200),
        (NAMES, {"host": "127.0.0.1"}, (400, "unknown_host")),
        # clients elsewhere: Flask's own server listens where its command line says (`flask run --host=0.0.0.0`)
        ({}, {"address": "127.0.0.2"}, 200),
        ({}, {"address": "10.0.0.7"}, (403, "forbidden")),
        ({"proxies": 1}, {"address": "10.0.0.7"}, 200),
        ({"host": OPEN}, {"address": "10.0.0.7"}, 200),
        # strict requests: without a key where others reach the server
        ({}, {"strict": True}, 200),
        ({"host": OPEN}, {"strict": True}, (403, "forbidden")),
        ({"host": OPEN}, {}, 200),
        ({"host": OPEN, "strict_for": "all"}, {"strict": True}, 200),
    ],
)
def test_who_is_answered(fakes: Fakes, server: dict[str, Any], sent: dict[str, Any], expected: object) -> None:
    assert code(client(fakes, **server), **sent) == expected


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:5000", "10.0.0.1"])
def test_under_another_hosts_name_nothing_is_answered(fakes: Fakes, host: str) -> None:
    """A page that is open on this machine may give its own name this machine's address."""
    http = client(fakes)
    for path in ("/healthz", "/readyz", "/metrics", "/", "/nowhere"):
        response = http.get(path, headers={"Host": host})
        assert (response.status_code, response.json["error"]["code"]) == (400, "unknown_host")
