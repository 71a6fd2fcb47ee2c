"""Copy all of Redis as of one moment, and load a copy into an empty Redis.

The copy is an RDB file, which Redis sends to whoever asks for it as a replica does (`SYNC`): it goes on answering
meanwhile. To load it, a temporary server reads the file, and each key is dumped there and restored in the target.
"""

import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, cast

import redis

from data_exchange_center import wire
from data_exchange_center.settings import Settings
from data_exchange_center.steps import progress
from extras.backup.archive import BackupError
from offline_to_online.stores.base import TIMEOUT_S, redis_client
from online.clients.redis import ERRORS, connect
from stack.redis import binary

CHUNK: Final = 1 << 20  # bytes
KEYS: Final = 500  # a round trip
SWITCH: Final = (wire.PUBLISHED_KEY.encode(), wire.LIVE_KEY.encode())  # restored last


def save(settings: Settings, file: Path) -> None:
    """Write what Redis holds at this moment into an RDB file. Raises BackupError where Redis refuses."""
    if settings.redis.cluster:
        raise BackupError(
            "a Redis cluster has no single moment: back up its nodes by the tools of the cluster"
        )
    with redis_client(settings) as client:
        connection = client.connection_pool.get_connection()
        try:
            connection.send_command("SYNC")
            with connection._sock.makefile("rb") as stream, file.open("wb") as copy:
                line = stream.readline()
                while line == b"\n":  # sent until the copy is ready
                    line = stream.readline()
                if not line.startswith(b"$"):
                    raise BackupError(
                        f"Redis at {settings.redis.url} sends no copy of its data: {line.decode()}"
                    )
                left = int(line[1:])
                with progress(
                    desc="Redis", total=left, unit="B", unit_scale=True
                ) as bar:
                    while left:
                        part = stream.read(min(left, CHUNK))
                        if not part:
                            raise BackupError(
                                "Redis ended the connection: run it again"
                            )
                        copy.write(part)
                        left -= len(part)
                        bar.update(len(part))
        finally:
            connection.disconnect()


@contextmanager
def server_of(file: Path) -> Iterator[Path]:
    """Start a temporary server that holds an RDB file. Yields its Unix socket."""
    with TemporaryDirectory() as name:
        socket = Path(name) / "redis.sock"
        command = (
            *(binary(), "--port", "0", "--unixsocket", str(socket)),
            *("--dir", str(file.parent), "--dbfilename", file.name),
            *("--save", "", "--appendonly", "no", "--daemonize", "no"),
        )
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
            try:
                while not _is_up(socket):
                    if server.poll() is not None:
                        raise BackupError(f"Redis cannot read {file.name}")
                    time.sleep(0.1)
                yield socket
            finally:
                server.kill()


def _is_up(socket: Path) -> bool:
    try:
        with redis.Redis(unix_socket_path=str(socket)) as client:
            return bool(client.ping())
    except ERRORS:  # it starts, or it is still loading
        return False


def is_empty(settings: Settings) -> bool:
    with redis_client(settings) as client:
        return (
            not client.exists(*SWITCH) and next(client.scan_iter("ml:*"), None) is None
        )


def load(settings: Settings, file: Path) -> int:
    """Restore each key of an RDB file, the pointer to the live release last. Returns the number of keys."""
    restored = 0
    with server_of(file) as socket:
        with redis.Redis(unix_socket_path=str(socket)) as source:
            keyspace = cast("dict[str, dict[str, int]]", source.info("keyspace"))
        for name in sorted(keyspace, reverse=True):  # the first database last
            number = int(name.removeprefix("db"))
            with (
                redis.Redis(unix_socket_path=str(socket), db=number) as source,
                connect(settings.redis, timeout_s=TIMEOUT_S, db=number) as target,
            ):
                keys = [
                    key for key in source.scan_iter(count=KEYS) if key not in SWITCH
                ]
                chunks = [keys[at : at + KEYS] for at in range(0, len(keys), KEYS)]
                if number == 0:
                    chunks += [[key] for key in SWITCH]
                for chunk in progress(chunks, desc="Redis"):
                    restored += _copy(source, target, chunk)
    return restored


def _copy(source: redis.Redis, target: redis.Redis, keys: Sequence[bytes]) -> int:
    with source.pipeline(transaction=False) as pipe:
        for key in keys:
            pipe.dump(key)
            pipe.pttl(key)
        found = pipe.execute()
    with target.pipeline(transaction=False) as pipe:
        for key, dumped, left in zip(keys, found[::2], found[1::2], strict=True):
            if dumped is not None:  # else it has expired meanwhile
                pipe.restore(key, max(left, 0), dumped)
        return len(pipe.execute())
