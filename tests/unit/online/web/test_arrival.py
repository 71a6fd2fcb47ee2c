"""What is known of a request before it is parsed."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from online.web.arrival import TOO_LARGE, Connection
from online.web.limits import MAX_BODY, MAX_EVENTS_BODY

BODY = b'{"userid": 1}'
ASKED = b"POST /ml/rec HTTP/1.1\r\nHost: here\r\nContent-Length: 13\r\n\r\n" + BODY


@pytest.fixture
def conn() -> Iterator[Connection]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Connection(SimpleNamespace(), ours, ("127.0.0.1", 1), ("127.0.0.1", 2))


@pytest.mark.parametrize(
    ("received", "patient"),
    [
        (ASKED, False),
        (ASKED.replace(b"13", b"29").replace(b"1}", b'1, "strict": true}'), True),
        (ASKED.replace(b"13", b"27").replace(b"1}", b'1,"strict":true}'), True),
        (ASKED.replace(b"13", b"30").replace(b"1}", b'1, "strict": false}'), False),
        (b"GET /readyz HTTP/1.1\r\n\r\n", True),
    ],
)
def test_who_asks_strictly_or_for_something_else_is_patient(conn: Connection, received: bytes, patient: bool) -> None:
    conn.received += received
    assert conn.is_patient() is patient


@pytest.mark.parametrize("line", ["POST /ml/event", "POST /api/feedback", "PUT /api/feedback"])
def test_lists_of_events_may_be_larger(conn: Connection, line: str) -> None:
    conn.received += ASKED.replace(b"13", b"%d" % MAX_EVENTS_BODY)
    assert conn.problem() == TOO_LARGE[MAX_BODY]
    conn.received[:] = conn.received.replace(b"POST /ml/rec", line.encode())
    assert conn.problem() is None
    assert conn.room() > MAX_EVENTS_BODY
    conn.received[:] = conn.received.replace(b"%d" % MAX_EVENTS_BODY, b"%d" % (MAX_EVENTS_BODY + 1))
    assert conn.problem() == TOO_LARGE[MAX_EVENTS_BODY]


@pytest.mark.parametrize(
    ("received", "stays", "left"),
    [
        (ASKED, True, b""),
        (ASKED + b"GET /healthz HTTP/1.1", False, b"GET /healthz HTTP/1.1"),
        (ASKED.replace(b"HTTP/1.1", b"HTTP/1.0"), False, b""),
        (ASKED.replace(b"Host: here", b"CONNECTION:close"), False, b""),
        (ASKED.replace(b"Host: here", b"Connection: keep-alive"), True, b""),
        (ASKED.replace(b"Host: here", b"Connection: keep-alive, close"), False, b""),
        (ASKED.replace(b"Host: here", b"Connection: close , Upgrade"), False, b""),
        (ASKED.replace(b"Host: here", b"Connection: closely"), True, b""),
        (b"HEAD /ml/users HTTP/1.1\r\n\r\n", False, b""),
        (ASKED.replace(b"/ml/rec", b"/ HTTP/1.1").replace(b"HTTP/1.1\r\n", b"HTTP/1.0\r\n"), False, b""),
    ],
)
def test_after_a_request_that_was_dropped_the_connection_stays_if_the_client_can_use_it(
    conn: Connection, received: bytes, stays: bool, left: bytes
) -> None:
    conn.received += received
    assert not conn.missing()
    assert conn.drop_request() is stays
    assert conn.received == left


@pytest.mark.parametrize(
    ("body", "seconds"), [(b'{"userid": 1}', 0.0), (b'{"budget_ms" : 10000}', 10.0), (b'{"budget_ms":20}', 0.02)]
)
def test_a_request_may_ask_for_a_time_of_its_own(conn: Connection, body: bytes, seconds: float) -> None:
    conn.received += ASKED + body
    assert conn.own_budget_s() == seconds
