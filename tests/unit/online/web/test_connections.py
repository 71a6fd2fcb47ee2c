import asyncio
import socket
from collections.abc import Iterator
from unittest.mock import Mock, patch

import pytest

from online.web.connections import Connections

FIRST, SECOND, THIRD, FOURTH, FIFTH = ((f"127.0.0.{n}", n) for n in range(1, 6))


@pytest.fixture(autouse=True)
def loop() -> Iterator[Mock]:
    """The event loop of the connections, which calls nothing."""
    with patch.object(asyncio, "get_running_loop") as get:
        yield get.return_value


def opened(connections: Connections, *clients: tuple[str, int]) -> list[Mock]:
    """Transports of clients that connect, in this order."""
    transports = []
    for client in clients:
        about = {"peername": client, "socket": Mock()}
        transport = Mock(asyncio.Transport, get_extra_info=about.get)
        connections.opened(transport)
        transports.append(transport)
    return transports


def aborted(*transports: Mock) -> list[bool]:
    return [transport.abort.called for transport in transports]


def test_the_longest_waiting_connection_makes_room() -> None:
    """Neither the new one does, nor one whose request is being answered."""
    connections = Connections(2, 5)
    first, second = opened(connections, FIRST, SECOND)
    with connections.answering(FIRST):
        pass  # it waits again, after the second
    (third,) = opened(connections, THIRD)
    assert aborted(first, second, third) == [False, True, False]
    with connections.answering(FIRST):
        fourth, fifth = opened(connections, FOURTH, FIFTH)
    assert aborted(first, third, fourth, fifth) == [False, True, True, False]


def test_a_closed_connection_leaves_room_for_another() -> None:
    connections = Connections(1, 5)
    (first,) = opened(connections, FIRST)
    connections.closed(first)
    (again,) = opened(connections, FIRST)
    connections.closed(first)
    (second,) = opened(connections, SECOND)
    assert aborted(first, again, second) == [False, True, False]


def test_a_connection_has_deadlines_until_its_head_arrives(loop: Mock) -> None:
    connections = Connections(2, 5)
    (client,) = opened(connections, FIRST)
    loop.call_later.assert_called_once_with(5, client.close)
    option = (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 5_000)
    client.get_extra_info("socket").setsockopt.assert_called_once_with(*option)
    connections.head_arrived(FIRST)
    loop.call_later.return_value.cancel.assert_called_once_with()


def test_a_connection_whose_client_is_gone_already_is_closed(loop: Mock) -> None:
    """Its socket has no peer's address any more."""
    connections = Connections(2, 5.0)
    gone = Mock()
    gone.get_extra_info.return_value = None
    connections.opened(gone)
    gone.abort.assert_called_once_with()
    connections.closed(gone)
    assert len(opened(connections, ("a", 1), ("a", 2))) == 2
