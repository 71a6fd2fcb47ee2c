"""A server of a few lines, for what speaks HTTP with one."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from data_exchange_center.settings import TRITON_SOCKET


@contextmanager
def serving(
    answer: Callable[
        [BaseHTTPRequestHandler, bytes],
        tuple[int, bytes] | tuple[int, bytes, Mapping[str, str]],
    ],
    socket_in: Path | None = None,
) -> Iterator[int]:
    """The port of a server; ``answer`` makes status, body and, if any, headers of a request and its body.

    ``socket_in``: a folder; it then listens on a Unix socket there, as Triton does.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            status, body, *headers = answer(
                self, self.rfile.read(int(self.headers.get("Content-Length", 0)))
            )
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            for each in headers:
                for name, value in each.items():
                    self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    class OnSocket(ThreadingHTTPServer):
        address_family = socket.AF_UNIX

        def server_bind(self) -> None:
            with contextlib.chdir(
                str(socket_in)
            ):  # whose path may be too long for an address
                self.socket.bind(TRITON_SOCKET)

        def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
            return self.socket.accept()[0], ("", 0)

    with (
        OnSocket(("", 0), Handler)
        if socket_in
        else ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server
    ):
        server.daemon_threads = True
        Thread(target=server.serve_forever, daemon=True).start()
        yield 0 if socket_in else server.server_port
        server.shutdown()
