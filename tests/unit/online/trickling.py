"""Services that send what a test says: at once, or a byte now and then."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def talking(
    talk: Callable[[socket.socket], object], at: Path | None = None
) -> Iterator[int]:
    """The port of a service that talks to each client by a script, and hangs up; ``at``: a socket's path instead."""
    listener = socket.socket(socket.AF_UNIX if at else socket.AF_INET)
    listener.bind(str(at) if at else ("127.0.0.1", 0))
    listener.listen()

    def serve(client: socket.socket) -> None:
        with client, suppress(OSError):
            talk(client)

    def accept() -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                threading.Thread(target=serve, args=(client,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield 0 if at else listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


@contextmanager
def service(answer: bytes, at: Path | None = None) -> Iterator[int]:
    """The port of a service that sends ``answer`` to everybody, a byte every 20 ms, and then keeps silent."""
    over = threading.Event()

    def trickle(client: socket.socket) -> None:
        for byte in answer:
            if over.wait(0.02):
                return
            client.sendall(bytes([byte]))
        over.wait(60)

    with talking(trickle, at) as port:
        try:
            yield port
        finally:
            over.set()
