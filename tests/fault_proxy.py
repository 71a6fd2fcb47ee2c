"""A TCP proxy between a client and a service that does to the traffic what networks and broken services do."""

from __future__ import annotations

import random
import select
import socket
import struct
import threading
import time
from contextlib import suppress
from enum import StrEnum
from types import TracebackType
from typing import Self

LOOPBACK = "127.0.0.1"
_CHUNK = 64 * 1024
_LINGER_RESET = struct.pack("ii", 1, 0)  # closing sends a reset instead of an end


class Fault(StrEnum):
    """Fault of the answers; requests reach the service as they are, but for `SILENT` and `DROP`."""

    NONE = "none"
    DELAY = "delay"  # each answer is `DELAY_S` late
    DROP = "drop"  # connections end at the first request, and so do new ones
    RESET = "reset"  # the same, with a reset
    GARBAGE = "garbage"  # random bytes instead of an answer
    CUT = "cut"  # the connection ends after the first few bytes of an answer
    TRICKLE = "trickle"  # a byte every `TRICKLE_S`
    SILENT = "silent"  # connections are accepted and stay open, and nothing comes back


DELAY_S = 2.0
TRICKLE_S = 0.05
FAULTS = tuple(fault for fault in Fault if fault is not Fault.NONE)


class FaultProxy:
    """Listens on `port` and passes everything on to the service's port, with a fault where one is set.

    A connection that has met a fault never becomes well again, as a real one would not; a new one has what is set then.
    """

    def __init__(self, service_port: int, seed: int = 0) -> None:
        self._service_port = service_port
        self._random = random.Random(seed)
        self._listener = socket.create_server((LOOPBACK, 0))
        self._ends: set[socket.socket] = set()
        self._closed = False
        self.fault = Fault.NONE
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._closed = True
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for end in tuple(self._ends):
            _end(end)

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        self._ends.add(client)
        service = None
        try:
            service = socket.create_connection((LOOPBACK, self._service_port), timeout=5)
            service.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._ends.add(service)
            self._pass_on(client, service)
        except OSError:  # either side has ended: so does the other
            pass
        finally:
            for end in (client, service):
                if end is not None:
                    self._ends.discard(end)
                    _end(end)

    def _pass_on(self, client: socket.socket, service: socket.socket) -> None:
        met = Fault.NONE
        while True:
            readable, _, _ = select.select([client, service], [], [], 0.05)
            if met is Fault.NONE:
                met = self.fault
            if met in (Fault.DROP, Fault.RESET):
                if met is Fault.RESET:
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
                return
            for end in readable:
                data = end.recv(_CHUNK)
                if not data:
                    return
                if met is Fault.SILENT:
                    continue
                if end is client:
                    service.sendall(data)
                elif not self._answer(client, data, met):
                    return

    def _answer(self, client: socket.socket, data: bytes, met: Fault) -> bool:
        """Whether the connection goes on."""
        if met is Fault.DELAY:
            time.sleep(DELAY_S)
        if met is Fault.TRICKLE:
            for position in range(len(data)):
                client.sendall(data[position : position + 1])
                time.sleep(TRICKLE_S)
            return True
        if met is Fault.GARBAGE:
            data = self._random.randbytes(len(data))
        if met is Fault.CUT:
            client.sendall(data[: min(9, len(data) // 2)])
            return False
        client.sendall(data)
        return True


def _end(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()
