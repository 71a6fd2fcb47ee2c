from __future__ import annotations

import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from pydantic import ValidationError

from data_exchange_center.settings import REDIS_SOCKET, ServerSettings, Settings
from extras.keys import store as keys
from online.main.s1_server import create_app
from tests.free_ports import free_ports
from tests.unit.extras.conftest import Fakes
from tests.unit.online.trickling import service


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
