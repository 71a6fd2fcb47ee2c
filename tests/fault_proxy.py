"""A TCP proxy in front of a service, which does to its connections what networks and broken services do."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, Self

from stack.service import LOOPBACK

SLOW_S: Final = 0.6
# refused: no connection; silent: requests are taken and not answered; slow: answers come `SLOW_S` late; reset: an
# answer's connection is reset in its place; garbage: random bytes in place of answers
KINDS: Final = ("refused", "silent", "slow", "reset", "garbage")


class FaultProxy:
    """Passes everything on between ``port``, a free one, and a service; with a fault where one is switched on.

    Open connections meet the fault, too.
    """

    def __init__(self, service: int | str) -> None:
        """``service``: its port, or the path of its socket."""
        self._service, self._kind = service, ""
        self._open: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.port = 0
        self._run(self._listen())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._run(self._refuse())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @contextmanager
    def fault(self, kind: str) -> Iterator[None]:
        """A fault of one of the `KINDS`, for the duration of the block."""
        self._kind = kind
        if kind == "refused":
            self._run(self._refuse())
        try:
            yield
        finally:
            self._kind = ""
            if kind == "refused":
                self._run(self._listen())

    def _run(self, act: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(act, self._loop).result(10)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, LOOPBACK, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _refuse(self) -> None:
        """Stop listening, and end all connections."""
        self._server.close()
        for writer in tuple(self._open):
            _reset(writer)
        await asyncio.sleep(0.1)

    async def _serve(
        self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter
    ) -> None:
        self._open.add(to_client)
        try:
            if isinstance(self._service, str):
                service, to_service = await asyncio.open_unix_connection(self._service)
            else:
                service, to_service = await asyncio.open_connection(
                    LOOPBACK, self._service
                )
            await asyncio.gather(
                self._requests(client, to_service), self._answers(service, to_client)
            )
        except OSError:  # the service is away
            _reset(to_client)
        finally:
            self._open.discard(to_client)

    async def _requests(
        self, client: asyncio.StreamReader, to_service: asyncio.StreamWriter
    ) -> None:
        with suppress(OSError):
            while data := await client.read(2**16):
                if self._kind != "silent":
                    to_service.write(data)
                    await to_service.drain()
        to_service.transport.abort()

    async def _answers(
        self, service: asyncio.StreamReader, to_client: asyncio.StreamWriter
    ) -> None:
        with suppress(OSError):
            while (data := await service.read(2**16)) and self._kind != "reset":
                if self._kind == "slow":
                    await asyncio.sleep(SLOW_S)
                to_client.write(
                    random.randbytes(len(data)) if self._kind == "garbage" else data
                )
                await to_client.drain()
        _reset(to_client)


def _reset(writer: asyncio.StreamWriter) -> None:
    """End a connection at once, with a reset."""
    with suppress(OSError):
        at_once = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, at_once
        )
    writer.transport.abort()
