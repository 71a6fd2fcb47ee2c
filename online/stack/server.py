"""The Flask server, as the stack runs it: gunicorn over the app factory."""

from __future__ import annotations

from typing import Final

import requests

from data_exchange_center import VERSION
from data_exchange_center.http import local_session
from data_exchange_center.settings import Settings
from data_exchange_center.wire import LIVE_KEY
from online.clients.redis import connect
from online.stack.service import BIN, LOOPBACK, NeedsActionError, NotReadyError, Port, Program, Service, ask

COMMAND: Final = ("-c", "online/gunicorn_conf.py", "online.main.s1_server:create_asgi()")


def _release_is_live(settings: Settings) -> bool:
    with connect(settings.redis) as redis:
        return bool(redis.exists(LIVE_KEY))


class Server(Service):
    """gunicorn; it keeps no data, so there is nothing to prepare."""

    name = "server"
    title = "The server"
    group = "server"
    ports = (Port(("server", "port"), 5000),)
    ready_within_s = 60.0

    def prepare(self, settings: Settings) -> None:
        """Do nothing."""

    def missing(self, settings: Settings) -> str | None:
        return None if (BIN / "gunicorn").is_file() else f"gunicorn is missing from {BIN}"

    def program(self, settings: Settings) -> Program:
        return Program(command=(str(BIN / "gunicorn"), *COMMAND), environment=settings.environment())

    def version(self, settings: Settings) -> str:
        """Ready are its services and a release, or NotReadyError says what the server says is missing."""
        port = settings.server.port
        ask("The server", port, "/healthz")
        try:
            with local_session() as session:
                answer = session.get(f"http://{LOOPBACK}:{port}/readyz", timeout=10).json()
        except (requests.RequestException, ValueError) as error:
            raise NotReadyError(f"the server does not answer to /readyz on port {port} yet") from error
        if answer["ready"]:
            return VERSION
        absent = [service["message"] for service in answer["services"].values() if not service["ready"]]
        if not absent and not _release_is_live(settings):
            raise NeedsActionError(answer["message"])
        raise NotReadyError(" ".join(absent) or answer.get("message", "a release is being opened"))


SERVER: Final = Server()
