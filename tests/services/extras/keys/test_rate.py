"""A client's requests are counted in Redis."""

import pytest
from flask.testing import FlaskClient

from data_exchange_center.settings import Settings
from extras.keys import hook
from extras.keys.hook import RATE_PREFIX
from online.main.s1_server import create_app
from online.recommend.recommend import Recommender
from tests.redis_of import redis_of


def server(settings: Settings) -> FlaskClient:
    return create_app(Recommender.from_settings(settings), settings).test_client()


def test_all_workers_count_together(
    stack: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # a busy machine is no reason to count by oneself
    monkeypatch.setattr(hook, "_TIMEOUT_S", 5.0)
    limited = stack.model_copy(
        update={"server": stack.server.model_copy(update={"rate": "3/hour"})}
    )
    first, second = server(limited), server(limited)
    with redis_of(stack) as client:
        try:
            given = [
                http.post("/ml/rec", data=b"{}").status_code
                for http in (first, second, first, second, first)
            ]
            kept = list(client.scan_iter(f"*{RATE_PREFIX}*"))
        finally:
            for key in client.scan_iter(f"*{RATE_PREFIX}*"):
                client.delete(key)
    assert given == [400, 400, 400, 429, 429]
    assert kept
