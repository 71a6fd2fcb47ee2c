"""Feast feature server: user and item features for ranking, kept in Redis."""

from __future__ import annotations

import sys
from importlib.metadata import version as installed_version
from typing import Final

from data_exchange_center.feast_repo import (
    feast_environment,
    feature_repo,
    prepare_feast_repo,
)
from data_exchange_center.settings import Settings
from stack.service import BIN, LOOPBACK, Port, Program, Service

FLAGS: Final = (
    *("--registry_ttl_sec", "2"),  # how soon a newly applied release is known
    *("--workers", "1"),
    *(
        "--max-requests",
        "0",
    ),  # its default ends a worker every thousand requests, and with one worker the service
    "--no-access-log",
)


class Feast(Service):
    """`feast serve` over the feature repository that the steps apply."""

    name = "feast"
    title = "Feast"
    ports = (Port(("feast", "port"), 6566),)

    def prepare(self, settings: Settings) -> None:
        prepare_feast_repo(settings)

    def missing(self, settings: Settings) -> str | None:
        return None if (BIN / "feast").is_file() else f"Feast is missing from {BIN}"

    def program(self, settings: Settings) -> Program:
        return Program(
            command=(
                sys.executable,
                str(feature_repo(settings) / "cli.py"),
                *("--chdir", str(feature_repo(settings)), "serve"),
                *("--host", LOOPBACK),
                *("--port", str(settings.feast.port)),
                *FLAGS,
            ),
            environment=feast_environment(settings),
        )

    def version(self, settings: Settings) -> str:
        """The server does not say its version: it is the installed package's."""
        self.ask(settings, "/health")
        return installed_version("feast")


FEAST: Final = Feast()
