from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from data_exchange_center.settings import FeastSettings, ServerSettings, Settings
from stack.feast.service import FEAST
from stack.server import SERVER
from stack.service import NotReadyError
from tests.free_ports import free_ports
from tests.http_server import serving


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A server that is ready, behind an environment whose proxy nobody answers at."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    known = ("/healthz", "/readyz")
    with serving(
        lambda request, _: (
            200 if request.path in known else 404,
            json.dumps({"status": "ready"}).encode(),
        )
    ) as at:
        yield at


def feast_on(port: int) -> Settings:
    return Settings(feast=FeastSettings(port=port))


def test_no_proxy_stands_before_a_service(port: int) -> None:
    assert FEAST.ask(feast_on(port), "/healthz").json() == {"status": "ready"}
    assert SERVER.version(Settings(server=ServerSettings(port=port)))


def test_another_status_and_no_answer_are_distinct(port: int) -> None:
    with pytest.raises(NotReadyError, match="Feast answers 404 to /nothing"):
        FEAST.ask(feast_on(port), "/nothing")
    with pytest.raises(NotReadyError, match="does not answer on port"):
        FEAST.ask(feast_on(*free_ports(1)), "/healthz")
