"""Sockets that keep the deadline of the thread that uses them, in the pools of redis-py and Elasticsearch."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from typing import Any, TypeVar

import redis
from elastic_transport import NodeConfig, Urllib3HttpNode
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

from online.clients.addresses import addresses_of
from online.clients.deadline import current

Result = TypeVar("Result")


class _Limited:
    """Every operation has the socket's own timeout, or what is left of the deadline where that is less."""

    def _within(self: Any, operation: Callable[..., Result], *arguments: Any) -> Result:
        deadline, own = current(), self.gettimeout()
        if deadline is None or (own is not None and own <= deadline.left()):
            return operation(*arguments)
        if not (left := deadline.left()):
            raise TimeoutError("the deadline is over")
        self.settimeout(left)
        try:
            return operation(*arguments)
        finally:
            if self.fileno() >= 0:
                self.settimeout(own)

    def recv(self, *arguments: Any) -> bytes:
        return self._within(super().recv, *arguments)  # type: ignore[misc,no-any-return]

    def recv_into(self, *arguments: Any) -> int:
        return self._within(super().recv_into, *arguments)  # type: ignore[misc,no-any-return]

    def send(self, *arguments: Any) -> int:
        return self._within(super().send, *arguments)  # type: ignore[misc,no-any-return]

    def sendall(self, *arguments: Any) -> None:
        self._within(super().sendall, *arguments)  # type: ignore[misc]


class DeadlineSocket(_Limited, socket.socket):
    """A plain socket that keeps the deadline."""

    @classmethod
    def over(cls, plain: socket.socket) -> DeadlineSocket:
        """The same connection; ``plain`` is not used afterwards."""
        timeout = plain.gettimeout()
        limited = cls(plain.family, plain.type, plain.proto, fileno=plain.detach())
        limited.settimeout(timeout)
        return limited


class DeadlineSSLSocket(_Limited, ssl.SSLSocket):
    """An encrypted socket that keeps the deadline."""


def _left_s(configured: float | None) -> float | None:
    """Seconds in which a connection is to be made: the configured ones, or what is left of the deadline."""
    if (deadline := current()) is None:
        return configured
    return max(min(configured or deadline.left(), deadline.left()), 1e-3)


def _first(connect: Callable[[str], socket.socket], addresses: list[str]) -> socket.socket:
    """A connection to the first address that takes one. Raises what the last one raised."""
    *others, last = addresses
    for address in others:
        try:
            return connect(address)
        except (OSError, ConnectTimeoutError, NewConnectionError):
            continue
    return connect(last)


class RedisConnection(redis.Connection):
    """A connection of redis-py's pool that keeps the deadline, while it is made, too."""

    def _connect(self) -> socket.socket:
        host, configured = self.host, self.socket_connect_timeout

        def connect(address: str) -> socket.socket:
            self.host, self.socket_connect_timeout = address, _left_s(configured)
            try:
                return super(RedisConnection, self)._connect()  # type: ignore[no-untyped-call,no-any-return]
            finally:
                self.host, self.socket_connect_timeout = host, configured

        return DeadlineSocket.over(_first(connect, addresses_of(host, _left_s(configured))))


class _TimelyConnection(HTTPConnection):
    """Connects by the deadline, the look-up of the host's name included."""

    def _new_conn(self) -> socket.socket:
        name, configured = self._dns_host, self.timeout

        def connect(address: str) -> socket.socket:
            self._dns_host, self.timeout = address, _left_s(configured)
            try:
                return super(_TimelyConnection, self)._new_conn()
            finally:
                self._dns_host, self.timeout = name, configured

        try:
            addresses = addresses_of(name, _left_s(configured))
        except socket.gaierror as error:
            raise NameResolutionError(name, self, error) from error
        except TimeoutError as error:
            raise ConnectTimeoutError(self, str(error)) from error
        return _first(connect, addresses)


class _HttpConnection(_TimelyConnection):
    def _new_conn(self) -> socket.socket:
        return DeadlineSocket.over(super()._new_conn())


class _HttpsConnection(_TimelyConnection, HTTPSConnection):
    """Becomes an encrypted socket, which keeps the deadline, after it is connected."""


class ElasticNode(Urllib3HttpNode):
    """For the Elasticsearch client: http and https."""

    def __init__(self, config: NodeConfig) -> None:
        super().__init__(config)
        if config.scheme == "https":  # a plain socket becomes an encrypted one after it is connected
            self.pool.conn_kw["ssl_context"].sslsocket_class = DeadlineSSLSocket
            self.pool.ConnectionCls = _HttpsConnection
        else:
            self.pool.ConnectionCls = _HttpConnection

    def perform_request(self, *arguments: Any, **more: Any) -> Any:
        if (deadline := current()) is not None:  # for connecting, and for waiting for a connection
            more["request_timeout"] = max(deadline.left(), 1e-3)
        return super().perform_request(*arguments, **more)
