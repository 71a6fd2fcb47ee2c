from typing import Any

import pytest
from flask.testing import FlaskClient

from data_exchange_center.settings import Settings
from online.main.s1_server import create_app
from online.web.guard import may_record_exposures
from online.web.parts import UnguardedError
from tests.unit.online.conftest import Fakes
from tests.unit.online.world import DefaultWorld

pytestmark = pytest.mark.parametrize("kind", [DefaultWorld], indirect=True)

OPEN = "0.0.0.0"


def client(fakes: Fakes, **server: Any) -> FlaskClient:
    return create_app(
        fakes.recommender, Settings(server={"extras": "none", **server})
    ).test_client()


def code(
    http: FlaskClient, host: str = "localhost", address: str = "127.0.0.1", **body: Any
) -> Any:
    more: Any = {"headers": {"Host": host}, "environ_base": {"REMOTE_ADDR": address}}
    response = http.post("/ml/rec", json={"userid": 1, **body}, **more)
    if response.status_code == 200:
        return 200
    return response.status_code, response.json["error"]["code"]


READABLE = {
    "host": OPEN,
    "keys_for": "writes",
}  # by anybody: without it the server needs the extra keys
NAMES = {**READABLE, "allowed_hosts": "shop.example, .b.example"}
PROXIED = {"proxies": 1, "keys_for": "writes"}
FORBIDDEN = (403, "forbidden")


@pytest.mark.parametrize(
    ("server", "sent", "expected"),
    [
        # names of the server
        ({}, {"host": "localhost:5000"}, 200),
        (READABLE, {"host": "shop.example"}, 200),
        (PROXIED, {"host": "shop.example"}, 200),
        (NAMES, {"host": "shop.example:80"}, 200),
        (NAMES, {"host": "a.b.example"}, 200),
        (NAMES, {"host": "127.0.0.1"}, (400, "unknown_host")),
        # clients elsewhere: Flask's own server listens where its command line says (`flask run --host=0.0.0.0`)
        ({}, {"address": "127.0.0.2"}, 200),
        ({}, {"address": "10.0.0.7"}, FORBIDDEN),
        (PROXIED, {"address": "10.0.0.7"}, 200),
        (READABLE, {"address": "10.0.0.7"}, 200),
        # requests that may take longer than the server's budget: not without a key where others reach the server
        ({}, {"strict": True}, 200),
        ({}, {"budget_ms": 10_000}, 200),
        (READABLE, {"strict": True}, FORBIDDEN),
        (READABLE, {"budget_ms": 251}, FORBIDDEN),
        (READABLE, {"budget_ms": 250}, 200),
        (READABLE, {}, 200),
        ({**READABLE, "strict_for": "all"}, {"strict": True}, 200),
        ({**READABLE, "strict_for": "all"}, {"budget_ms": 251}, 200),
        (PROXIED, {"strict": True}, FORBIDDEN),
        ({**PROXIED, "host": "127.0.0.1"}, {"budget_ms": 251}, FORBIDDEN),
        ({"host": OPEN, "published_on": "127.0.0.1"}, {"strict": True}, 200),
        (
            {**PROXIED, "host": OPEN, "published_on": "127.0.0.1"},
            {"strict": True},
            FORBIDDEN,
        ),
    ],
)
def test_which_requests_are_answered(
    opened: Fakes, server: dict[str, Any], sent: dict[str, Any], expected: Any
) -> None:
    assert code(client(opened, **server), **sent) == expected


@pytest.mark.parametrize("server", [{"host": OPEN}, {"proxies": 1}], ids=str)
def test_an_open_server_does_not_start_without_keys(
    fakes: Fakes, server: dict[str, Any]
) -> None:
    with pytest.raises(UnguardedError):
        client(fakes, **server)


SITES = [
    ({}, False),
    ({"Sec-Fetch-Site": "same-origin"}, False),
    ({"Sec-Fetch-Site": "none"}, False),
    ({"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost"}, False),
    ({"Origin": "http://localhost"}, False),
    ({"Sec-Fetch-Site": "same-site", "Origin": "http://localhost:8080"}, True),
    ({"Sec-Fetch-Site": "same-site"}, True),
    ({"Sec-Fetch-Site": "cross-site"}, True),
    ({"Sec-Fetch-Site": "nonsense"}, True),
    ({"Origin": "http://localhost:8080"}, True),
    ({"Origin": "null"}, True),
    ({"Origin": "http://["}, True),
]


@pytest.mark.parametrize(
    ("server", "headers", "recorded"),
    [
        *(({}, headers, not crosses) for headers, crosses in SITES),
        (READABLE, {}, False),
    ],
    ids=str,
)
def test_reads_of_other_sites_or_without_key_of_an_open_server_record_no_exposures(
    fakes: Fakes, server: dict[str, Any], headers: dict[str, str], recorded: bool
) -> None:
    http, found = client(fakes, **server), []
    fakes.recommender.phases.annotate.append(
        lambda slate: found.append(may_record_exposures())
    )
    assert http.post("/ml/rec", json={"userid": 1}, headers=headers).status_code == 200
    assert found == [recorded]
    assert may_record_exposures()  # outside of a request


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example:5000",
        "10.0.0.1",
    ],
)
def test_under_another_hosts_name_nothing_is_answered(fakes: Fakes, host: str) -> None:
    """A page that is open on this machine may give its own name this machine's address."""
    http = client(fakes)
    for path in ("/healthz", "/readyz", "/metrics", "/", "/nowhere"):
        response = http.get(path, headers={"Host": host})
        assert response.status_code == 400
        assert response.json["error"]["code"] == "unknown_host"
