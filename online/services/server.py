"""The Flask server, as the stack runs it: gunicorn over the app factory."""

from __future__ import annotations

from importlib.metadata import version as installed_version
from typing import Final

from data_exchange_center.settings import Settings
from online.services.service import BIN, Port, Program, Service, ask

COMMAND: Final = ("-c", "online/gunicorn_conf.py", "online.main.s1_server:create_app()")


def prepare(_: Settings) -> None:
    """Nothing to lay out: the server keeps no data."""


def missing(_: Settings) -> str | None:
    return None if (BIN / "gunicorn").is_file() else f"gunicorn is missing from {BIN}"


def program(settings: Settings) -> Program:
    return Program(command=(str(BIN / "gunicorn"), *COMMAND), environment=settings.environment())


def version(settings: Settings) -> str:
    ask("The server", settings.server.port, "/readyz", timeout_s=10)
    return installed_version("recsys-pipeline")


SERVER: Final = Service(
    name="server",
    title="The server",
    group="server",
    ports=(Port(("server", "port"), 5000),),
    prepare=prepare,
    missing=missing,
    program=program,
    version=version,
)
