"""The containers' commands, with and without a password: Redis asks for it, and Feast's client knows it."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

import pytest
import redis
import yaml
from feast.infra.online_stores.redis import RedisOnlineStore, RedisOnlineStoreConfig
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from stack.redis.service import binary
from stack.service import LOOPBACK, ROOT
from tests.free_ports import settings_on_free_ports


def container_command(service: str, secret: Path, **changes: str) -> list[str]:
    """The container's command, on this machine: the secret elsewhere, and some words of the shell's line replaced."""
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    shell, option, line = compose["services"][service]["command"]
    for old, new in {
        "$$": "$",
        "/run/secrets/redis/password": str(secret),
        **changes,
    }.items():
        assert old in line
        line = line.replace(old, new)
    return [shell, option, line]


@pytest.mark.parametrize("password", ["", "hush", "p@ss w0rd #1 $x'"])
def test_redis_and_feast_understand_a_password_and_an_empty_one(
    password: str, tmp_path: Path
) -> None:
    settings = settings_on_free_ports(tmp_path)
    secret = tmp_path / "redis_password"
    secret.write_text(password)
    own = f" --port {settings.redis.port} --bind {LOOPBACK} --dir {tmp_path}"
    folders = {
        "/tmp/redis.conf": str(tmp_path / "redis.conf"),
        "/data/": f"{tmp_path}/",
    }
    command = container_command("redis", secret, **folders)
    command[2] += own
    path = f"{Path(str(binary())).parent}:{os.defpath}"
    server = subprocess.Popen(command, env={"PATH": path})
    try:
        listening = retry(
            stop=stop_after_delay(60),
            wait=wait_fixed(0.05),
            retry=retry_if_exception_type(OSError),
        )
        listening(socket.create_connection)((LOOPBACK, settings.redis.port)).close()
        reported = container_command("feast", secret)
        reported[2] = reported[2].partition("exec ")[0] + 'printf "%s" "$FEAST_REDIS"'
        environment = {
            "FEAST_REDIS_ADDRESS": f"{LOOPBACK}:{settings.redis.port},db=1",
            "PATH": os.defpath,
        }
        address = subprocess.run(
            reported, env=environment, capture_output=True, text=True, check=True
        ).stdout
        store = RedisOnlineStore()._get_client(
            RedisOnlineStoreConfig(connection_string=address)
        )
        assert store.ping()
        unknown_user = redis.Redis(port=settings.redis.port)
        if password:
            with pytest.raises(redis.AuthenticationError):
                unknown_user.ping()
        else:
            assert unknown_user.ping()
    finally:
        server.terminate()
        server.wait(120)
