"""Releases of made-up artifacts, and what is answered from the one that is live."""

import os
import re
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
import redis
from redis.client import Pipeline

from data_exchange_center.manifest import Published
from data_exchange_center.release_parts import read_own_ids
from data_exchange_center.settings import Settings
from offline_to_online.parity import CheckedRequest, online_answers, server_of
from offline_to_online.rank import (
    s1_feature_to_feast,
    s2_model_to_triton,
    s3_check_offline_and_online,
)
from offline_to_online.recall import s1_user_to_redis, s2_item_to_es
from offline_to_online.release import s1_go_live
from offline_to_online.stores.redis import RedisStore
from tests.synthetic_release import write_artifacts

LOADS: Final = (
    s1_user_to_redis,
    s2_item_to_es,
    s1_feature_to_feast,
    s2_model_to_triton,
)
SYNC: Final = (*LOADS, s3_check_offline_and_online, s1_go_live)
# userid -> time, after a break
REQUESTS: Final = dict.fromkeys((1, 2, 3), 1_000_200_000)


def written(settings: Settings, recipe: str, seed: int) -> Settings:
    """The artifacts of a release, put into the exchange folder; and the settings of its recipe."""
    write_artifacts(settings.exchange_dir, recipe=recipe, seed=seed)
    return settings.model_copy(update={"recipe_name": recipe})


def live(settings: Settings) -> Published:
    store = RedisStore(settings)
    release, _ = store.listed()
    return store.published(release)


def answer(settings: Settings, published: Published) -> list[CheckedRequest]:
    """The server's ranked lists of a few users."""
    with server_of(settings) as server:
        return online_answers(
            server, published, REQUESTS, read_own_ids(settings.exchange_dir).items
        )


def same(one: Sequence[CheckedRequest], other: Sequence[CheckedRequest]) -> bool:
    return all(
        np.array_equal(a.candidates.item_numbers, b.candidates.item_numbers)
        and np.array_equal(a.scores, b.scores)
        for a, b in zip(one, other, strict=True)
    )


# A process that is killed just before one of its writes, played within a test.


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
