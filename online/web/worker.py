"""gunicorn's threaded worker, but a request is given to a thread only when all of it has arrived.

The worker that gunicorn brings reads a request within a thread: as many slow clients as there are threads, each sending
a byte now and then, and nobody else is answered. And it waits, within the one loop that accepts connections, up to two
seconds for each client that does not hang up after its answer. Here both are states of a connection in that loop:

    arriving   its bytes are collected, for a limited time and up to a limited size
    lingering  it has its answer; what it still sends is dropped, for a limited time, so that it can read the answer

A request that is complete while too many are in hand is refused there, too, before it costs a thread.
"""

from __future__ import annotations

import errno
import json
import selectors
import socket
import struct
import time
from collections import deque
from functools import cache, partial
from http import HTTPStatus
from typing import Any, Final

from gunicorn import util
from gunicorn.http import errors
from gunicorn.workers.gthread import ThreadWorker
from prometheus_client import Counter

from data_exchange_center.settings import load_settings
from online.web.admission import Admission
from online.web.arrival import OVERLOADED, TOO_LARGE, TOO_LATE, Connection, Refusal
from online.web.in_hand import complete_since
from online.web.worker_marks import WorkerMarks

LINGERS_S: Final = 2.0
RETRY_AFTER_S: Final = 1
_CHUNK: Final = 64 * 1024
_TIMEOUT: Final = struct.pack("ll", 5, 0)  # seconds, microseconds: of a client that neither reads nor sends
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_PARSE_ERRORS: Final[dict[type[Exception], Refusal]] = {
    errors.LimitRequestLine: (414, "uri_too_long", "The request's line is too long."),
    errors.LimitRequestHeaders: (431, "headers_too_large", "The request has too many headers, or too long ones."),
    errors.ExpectationFailed: (417, "expectation_failed", "Only 100-continue can be expected."),
}
_NO_HTTP: Final = (400, "bad_request", "This is not a request in HTTP/1.0 or 1.1.")
_FAILED: Final = (500, "internal_error", "Something went wrong; the log has it.")


@cache
def refused() -> Counter:
    """Made in a worker: gunicorn's master imports this module again when its workers are started anew."""
    return Counter("recsys_refused", "Requests that were refused before the application saw them", ["code"])


class PatientWorker(ThreadWorker):  # type: ignore[misc]
    """Waits for slow clients in its loop, where waiting costs nothing."""

    def init_process(self) -> None:
        self._being_replaced = False
        settings = load_settings()
        self._arrives_within_s = settings.server.arrival_timeout_s
        self._marks = WorkerMarks(settings.started_workers_dir)
        self._admission = Admission(self.cfg.threads, settings.server.budget_ms / 1e3)
        self._arriving: dict[Connection, None] = {}  # in the order of their timeouts
        self._lingering: deque[tuple[float, Connection]] = deque()  # until when
        super().init_process()

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Stop; but if others are to take over, only when they have (see `on_reload` in online/gunicorn_conf.py)."""
        if self._marks.stopping() or self.pid in self._marks.pids():
            super().handle_exit(sig, frame)
        else:
            self._being_replaced = True

    def _stop_if_replaced(self) -> None:
        if self._being_replaced:
            answering = self._marks.pids()
            if self._marks.stopping() or self.pid in answering or len(answering) >= self.cfg.workers:
                self.alive = False  # for good, whatever becomes of the others

    def accept(self, listener: socket.socket) -> None:
        try:
            client, address = listener.accept()
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.ECONNABORTED, errno.EWOULDBLOCK):
                raise
            return
        self.nr_conns += 1
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _TIMEOUT)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _TIMEOUT)
        self._wait_for(Connection(self.cfg, client, address, listener.getsockname()))

    def on_client_socket_readable(self, conn: Connection, client: socket.socket) -> None:
        """A kept-alive connection's next request begins."""
        self.poller.unregister(client)
        self.keepalived_conns.remove(conn)
        self._wait_for(conn)

    def _wait_for(self, conn: Connection) -> None:
        """Collect a request, what there is of it at once. One that the client sent ahead may be here already."""
        self._expect(conn)
        if conn.missing():
            self.on_pending_socket_readable(conn, conn.sock)
        else:
            self._go_on(conn)

    def _expect(self, conn: Connection) -> None:
        conn.sock.setblocking(False)
        self._expect_again(conn)
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self.on_pending_socket_readable, conn))

    def _expect_again(self, conn: Connection) -> None:
        """Give what is to arrive its whole time, from now on."""
        self._arriving.pop(conn, None)
        conn.timeout = time.monotonic() + self._arrives_within_s
        self._arriving[conn] = None

    def on_pending_socket_readable(self, conn: Connection, client: socket.socket) -> None:
        try:
            arrived = client.recv(conn.room())
        except BlockingIOError:
            arrived = None
        except OSError:
            arrived = b""
        if arrived == b"":
            self._forget(conn)
            self._close(conn)
            return
        conn.received += arrived or b""
        self._go_on(conn)

    def _go_on(self, conn: Connection) -> None:
        """Refuse a request, answer it, or wait for the rest."""
        problem, complete = conn.problem(), not conn.missing()
        if problem is not None:
            self._forget(conn)
            self._refuse(conn.sock, problem)
            self._linger(conn)
        elif complete:
            conn.patient, conn.budget_s = conn.is_patient(), conn.own_budget_s()
            if self._admission.takes(watches=conn.watches(), patient=conn.patient):
                self._forget(conn)
                self._take(conn)
            else:
                self._turn_away(conn)
        elif conn.waits_to_be_asked():
            conn.told_to_go_on = True
            _send(conn.sock, _CONTINUE)

    def _take(self, conn: Connection) -> None:
        conn.data_ready = True
        conn.complete_since = time.perf_counter()
        self._admission.taken()
        self.enqueue_req(conn)

    def _turn_away(self, conn: Connection) -> None:
        """Say that it is too much at once. The connection stays: to make new ones would be the most of the work."""
        stays = conn.drop_request() and self.alive
        self._refuse(conn.sock, OVERLOADED, stays=stays)
        if stays:
            self._expect_again(conn)
        else:
            self._forget(conn)
            self._linger(conn)

    def handle(self, conn: Connection) -> Any:
        """Answer a request. Called within a thread."""
        complete_since.set(conn.complete_since)
        return super().handle(conn)

    def finish_request(self, conn: Connection, done: Any) -> None:
        """Wait for the client's next request, part of which may be here already, or see it off."""
        took_s = time.perf_counter() - conn.complete_since
        self._admission.answered(took_s, patient=conn.patient, budget_s=conn.budget_s)
        answered = not done.cancelled() and done.exception() is None and done.result()
        if not answered:
            self._linger(conn)
        elif ahead := conn.parser.unreader.take_buffered():
            conn.received += ahead
            self._wait_for(conn)
        else:
            super().finish_request(conn, done)

    def handle_error(self, req: Any, client: socket.socket, address: Any, error: Exception) -> None:
        """What cannot be parsed is refused in the shape of every other error."""
        refusal = next((told for kind, told in _PARSE_ERRORS.items() if isinstance(error, kind)), None)
        if refusal is None:
            refusal = _NO_HTTP if isinstance(error, errors.ParseException) else _FAILED
        if refusal is _FAILED:
            self.log.exception("a request failed outside of the application")
        self._refuse(client, refusal)

    def _refuse(self, client: socket.socket, refusal: Refusal, *, stays: bool = False) -> None:
        refused().labels(refusal[1]).inc()
        _send(client, _response(refusal, stays=stays))

    def _linger(self, conn: Connection) -> None:
        """Say that nothing more will come, and drop what does until the client hangs up."""
        try:
            conn.sock.setblocking(False)
            conn.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._close(conn)
            return
        self._lingering.append((time.monotonic() + LINGERS_S, conn))
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._drop, conn))

    def _drop(self, conn: Connection, client: socket.socket) -> None:
        try:
            gone = not client.recv(_CHUNK)
        except BlockingIOError:
            gone = False
        except OSError:
            gone = True
        if gone:
            self._lingering.remove(next(each for each in self._lingering if each[1] is conn))
            self.poller.unregister(client)
            self._close(conn)

    def murder_pending(self) -> None:
        """End what has taken too long. Called about once a second, and after every event."""
        self._stop_if_replaced()
        now = time.monotonic()
        while (conn := next(iter(self._arriving), None)) is not None and conn.timeout <= now:
            self._forget(conn)
            if conn.received:
                self._refuse(conn.sock, TOO_LATE)
                self._linger(conn)
            else:
                self._close(conn)
        while self._lingering and self._lingering[0][0] <= now:
            _, conn = self._lingering.popleft()
            self.poller.unregister(conn.sock)
            self._close(conn)

    def _forget(self, conn: Connection) -> None:
        self._arriving.pop(conn, None)
        self.poller.unregister(conn.sock)

    def _close(self, conn: Connection) -> None:
        self.nr_conns -= 1
        util.close(conn.sock)


@cache
def _response(refusal: Refusal, *, stays: bool) -> bytes:
    """``stays``: whether the connection does."""
    status, code, message = refusal
    field = {"field": "body"} if refusal in TOO_LARGE.values() else {}
    again = f"Retry-After: {RETRY_AFTER_S}\r\n" if refusal is OVERLOADED else ""
    body = json.dumps({"error": {"code": code, **field, "message": message}})
    connection = "keep-alive" if stays else "close"
    head = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nConnection: {connection}\r\n"
        "Content-Type: application/json\r\n"
    )
    return f"{head}{again}Content-Length: {len(body)}\r\n\r\n{body}".encode()


def _send(client: socket.socket, data: bytes) -> None:
    """Without waiting: a few hundred bytes fit, or the client is none that reads."""
    try:
        client.setblocking(False)
        client.send(data)
    except OSError:
        pass
