"""Connections of a gunicorn worker: how many it holds, and how long a new one may take to send a request's head.

gunicorn's `asgi` worker limits neither: connections that send nothing would use up the files that it may open.
"""

import resource
from asyncio import BaseTransport
from typing import Any, ClassVar

from gunicorn.asgi.protocol import ASGIProtocol
from gunicorn.workers import gasgi

from data_exchange_center.settings import ServerSettings
from online.web.asgi import refused


class Connection(ASGIProtocol):  # type: ignore[misc]  # gunicorn has no types
    """Is closed when its first head is late, or when it has waited longest of too many.

    Attributes:
        most: connections of the worker. Beyond it the one is closed whose client has been silent longest, so that a
            client that sends a request is answered however many others do not.
        arrives_within_s: from the connection to the end of its first head. Later heads are limited by keepalive.
        waiting: those whose request has not arrived as a whole, in the order in which they began to wait.
    """

    most: ClassVar[int]
    arrives_within_s: ClassVar[float]
    waiting: ClassVar["dict[Connection, None]"] = {}

    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(transport)
        self.waiting[self] = None
        # gunicorn cancels this timer when the head is complete, and arms it again for the next one
        self._keepalive_handle = self.worker.loop.call_later(self.arrives_within_s, self._keepalive_timeout)
        if self.worker.nr_conns > self.most:
            refused.labels("too_many_connections").inc()
            oldest = next(iter(self.waiting))
            self.waiting.pop(oldest)  # it is only scheduled to close: the next connection closes another one
            oldest.transport.abort()

    def _on_message_complete(self) -> None:
        self.waiting.pop(self, None)
        super()._on_message_complete()

    def _arm_keepalive_timer(self) -> None:
        self.waiting.pop(self, None)
        self.waiting[self] = None
        super()._arm_keepalive_timer()

    def connection_lost(self, error: Any) -> None:
        self.waiting.pop(self, None)
        super().connection_lost(error)


def limit_connections(settings: ServerSettings) -> None:
    """Limit the connections of this worker: to the setting, and to half of the files that the process may open.

    The other half is for connections that are being accepted or closed, and for those to the services. Call it before
    the worker listens.
    """
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    Connection.most = settings.max_connections if files < 0 else min(settings.max_connections, files // 2)
    Connection.arrives_within_s = settings.arrival_timeout_s
    gasgi.ASGIProtocol = Connection  # the worker has no setting for it
