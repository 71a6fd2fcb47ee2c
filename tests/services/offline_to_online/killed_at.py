"""A process that is killed just before one of its writes, played within a test."""

import os
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
import redis
from redis.client import Pipeline

_REDIS_READS: Final = {
    "GET",
    "HGETALL",
    "EXISTS",
    "LRANGE",
    "SCAN",
    "INFO",
    "PING",
    "HGET",
}
_HTTP_READ: Final = re.compile(
    rb"(GET|HEAD) |POST \S*(/_search|/_count|/_msearch|/_mget|/_search/scroll|/get-online-features|/index)[ ?]"
)
_HTTP_LINE: Final = re.compile(rb"[A-Z]+ /\S* HTTP/1")
_FILES: Final = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "shutil.rmtree"}


class Killed(BaseException):
    """As good as SIGKILL: no handler can write anything after it."""


@dataclass
class Writes:
    """Writes of the thread that made this, into the services and below ``folder``."""

    folder: Path
    count: int = 0
    last: str = ""  # what the last one was
    kill_at: int = 0  # before which write, counted from 1; 0: never
    dead: bool = False

    def __post_init__(self) -> None:
        self._thread = threading.get_ident()

    def write(self, what: str) -> None:
        """Raises Killed."""
        if threading.get_ident() != self._thread:
            return
        if not self.dead:
            self.count, self.last = self.count + 1, what
            self.dead = self.count == self.kill_at
        if self.dead:
            raise Killed(what)

    def audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Audit hook for files, processes and HTTP."""
        if event in _FILES:
            paths = [
                str(argument)
                for argument in arguments
                if isinstance(argument, (str, os.PathLike))
            ]
            if any(path.startswith(str(self.folder)) for path in paths):
                self.write(f"{event} {paths}")
        elif event == "open" and isinstance(arguments[0], (str, os.PathLike)):
            written = arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            if written and str(arguments[0]).startswith(str(self.folder)):
                self.write(f"open {arguments[0]}")
        elif event == "subprocess.Popen":
            self.write(f"{event} {arguments[1]}")
        elif event == "http.client.send":
            head = (
                bytes(arguments[1])
                if isinstance(arguments[1], (bytes, bytearray))
                else b""
            )
            if _HTTP_LINE.match(head) and not _HTTP_READ.match(head):
                self.write(head.split(b" HTTP")[0].decode())


_active: list[Writes] = []


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _active and (
        event in _FILES or event in ("open", "subprocess.Popen", "http.client.send")
    ):
        _active[-1].audit(event, arguments)


# for good: hooks cannot be taken away, but this one sleeps outside of `writes`
sys.addaudithook(_hook)


@contextmanager
def writes(folder: Path, kill_at: int = 0) -> Iterator[Writes]:
    """Count what this thread writes in the block, and kill it before one write. The block ends there, without error."""
    watched = Writes(folder, kill_at=kill_at)
    execute = redis.Redis.execute_command
    execute_all = Pipeline.execute

    def one(client: redis.Redis, *command: Any, **options: Any) -> Any:
        if str(command[0]).split()[0].upper() not in _REDIS_READS and not isinstance(
            client, Pipeline
        ):
            watched.write(f"redis {command[:2]}")
        return execute(client, *command, **options)

    def several(pipeline: Pipeline, *arguments: Any, **options: Any) -> Any:
        names = {str(command[0][0]).upper() for command in pipeline.command_stack}
        if names - _REDIS_READS:
            watched.write(f"redis pipeline of {sorted(names)}")
        return execute_all(pipeline, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(redis.Redis, "execute_command", one)
        patch.setattr(Pipeline, "execute", several)
        _active.append(watched)
        try:
            yield watched
        except Killed:
            pass
        finally:
            _active.remove(watched)
