"""Fault injection where a client meets the network, so that deadline, circuit breaker and fallback are the real ones.

Elasticsearch, Feast and Triton: in place of the client's HTTP transport. Redis: in the socket of every connection of
the process, so that extensions' calls and the rate limit meet the fault, too. Without a fault nothing is in place.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from functools import partial
from typing import Any, Final

from extras.faults.declaration import ActiveFault
from online.clients.base import Client, current
from online.clients.http import Http, HttpAnswer, HttpClient
from online.clients.redis import RedisClient, TimelySocket

_GARBAGE: Final = b"\x00\xff\xfe\r\n"  # neither JSON nor Redis's protocol
_spared: ContextVar[bool] = ContextVar("spared", default=False)


@contextmanager
def spared() -> Iterator[None]:
    """No fault in this block: what reads which faults are on has to end them."""
    token = _spared.set(True)
    try:
        yield
    finally:
        _spared.reset(token)


def inject(client: Client[Any, Any], fault: ActiveFault) -> Callable[[], None]:
    """Do the fault to a client's calls, until the returned function is called or the fault's time is over."""
    if isinstance(client, HttpClient):
        http, client.http = client.http, FaultyHttp(client.http, fault)
        return partial(setattr, client, "http", http)
    if isinstance(client, RedisClient):
        return _inject_into_sockets(fault)
    return lambda: None


def _drawn(fault: ActiveFault) -> bool:
    """Whether the fault is done to this call."""
    is_on = fault.seconds_left > 0 and not _spared.get()
    return is_on and random.random() < fault.share  # noqa: S311 (no secret)


def _wait(fault: ActiveFault) -> None:
    """Wait as a slow service lets its caller wait: not beyond the deadline."""
    time.sleep(min(fault.wait_ms / 1e3, current().left()))


class FaultyHttp(Http):
    """The transport of one service, with a fault."""

    def __init__(self, http: Http, fault: ActiveFault) -> None:
        self._real, self._fault = http, fault

    def post(self, path: str, body: bytes | None, *headers: str) -> HttpAnswer:
        if not _drawn(self._fault):
            return self._real.post(path, body, *headers)
        if self._fault.kind == "down":
            raise ConnectionRefusedError("fault: down")
        if self._fault.kind == "slow":
            _wait(self._fault)
            if not current().left():
                raise TimeoutError("fault: slow")
        answer = self._real.post(path, body, *headers)
        if self._fault.kind == "reset":
            raise ConnectionResetError("fault: reset")
        if self._fault.kind == "garbage":
            return replace(answer, body=_garbled(answer.body))
        return answer

    def close(self) -> None:
        self._real.close()


def _garbled(data: bytes) -> bytes:
    """Wrong bytes, at least as many."""
    return _GARBAGE * (len(data) // len(_GARBAGE) + 1)


def _inject_into_sockets(fault: ActiveFault) -> Callable[[], None]:
    """Replace methods of `TimelySocket`: a call is drawn when it is sent."""
    names = ("sendall", "recv", "recv_into")
    real = {name: getattr(TimelySocket, name) for name in names}
    met: dict[int, str] = {}  # id of a socket -> what is done to its next answer

    def sendall(self: TimelySocket, data: bytes) -> None:
        kind = fault.kind if _drawn(fault) else ""
        met[id(self)] = kind
        if kind == "down":
            raise ConnectionRefusedError("fault: down")
        if kind == "slow":
            _wait(fault)
        real["sendall"](self, data)

    def received(self: TimelySocket, data: bytes) -> bytes:
        kind = met.get(id(self))
        if kind == "reset":
            raise ConnectionResetError("fault: reset")
        return _garbled(data)[: len(data)] if kind == "garbage" else data

    def recv(self: TimelySocket, size: int) -> bytes:
        return received(self, real["recv"](self, size))

    def recv_into(self: TimelySocket, buffer: bytearray) -> int:
        size: int = real["recv_into"](self, buffer)
        buffer[:size] = received(self, bytes(buffer[:size]))
        return size

    def set_all(methods: dict[str, Any]) -> None:
        for name, method in methods.items():
            setattr(TimelySocket, name, method)

    set_all({"sendall": sendall, "recv": recv, "recv_into": recv_into})
    return partial(set_all, real)
