"""The containers' Redis with and without a password, asked as Feast asks."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

import pytest
import redis
from feast.infra.online_stores.redis import RedisOnlineStore, RedisOnlineStoreConfig
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from online.stack.catalogue import SERVICES
from online.stack.redis.service import binary
from online.stack.service import LOOPBACK
from tests.free_ports import settings_on_free_ports

VARIABLE = "${RECSYS_REDIS__PASSWORD:-}"  # what docker-compose.yml has in its place


@pytest.mark.parametrize("password", ["", "hush"])
def test_redis_and_feast_understand_a_password_and_an_empty_one(password: str, tmp_path: Path) -> None:
    settings = settings_on_free_ports(tmp_path)
    command = [part.replace(VARIABLE, password) for part in SERVICES[0].container.command]  # type: ignore[union-attr]
    own = ["--port", str(settings.redis.port), "--bind", LOOPBACK, "--dir", str(tmp_path)]
    server = subprocess.Popen([str(binary()), *command[1:], *own])
    try:
        listening = retry(stop=stop_after_delay(10), wait=wait_fixed(0.05), retry=retry_if_exception_type(OSError))
        listening(socket.create_connection)((LOOPBACK, settings.redis.port)).close()
        address = f"{LOOPBACK}:{settings.redis.port},db=1,password={password}"
        store = RedisOnlineStore()._get_client(RedisOnlineStoreConfig(connection_string=address))
        assert store.ping()
        stranger = redis.Redis(port=settings.redis.port)
        if password:
            with pytest.raises(redis.AuthenticationError):
                stranger.ping()
        else:
            assert stranger.ping()
    finally:
        server.terminate()
        server.wait(10)
