from __future__ import annotations

import pytest
from flask import Flask

from data_exchange_center.settings import Settings
from extras.canary.__main__ import require_server
from extras.client import ServerError
from tests.unit.extras.conftest import Fakes, serving


def settings_of(url: str) -> Settings:
    return Settings(server={"port": int(url.rpartition(":")[2])})


def test_a_canary_needs_a_server_that_knows_of_canaries(fakes: Fakes) -> None:
    with serving(fakes.app) as url:
        require_server(settings_of(url))
        fakes.canaries.down = True
        require_server(settings_of(url))
    with pytest.raises(ServerError):
        require_server(settings_of(url))
    with serving(Flask("without")) as url, pytest.raises(ServerError):
        require_server(settings_of(url))
