"""Feast feature server: user and item features for ranking, kept in Redis."""

import sys
from typing import Final

from data_exchange_center.feast_repo import (
    feast_environment,
    feature_repo,
    prepare_feast_repo,
)
from data_exchange_center.settings import Settings
from online.clients.feast import FeastFeatures
from stack.service import LOOPBACK, Program, Service, pinged

FLAGS: Final = (
    *("--registry_ttl_sec", "2"),  # how soon a newly applied release is known
    *("--workers", "1"),
    # its default ends a worker every thousand requests, and with one worker the service
    *("--max-requests", "0"),
    "--no-access-log",
)


class Feast(Service):
    """`feast serve` over the feature repository that the steps apply."""

    name = "feast"
    title = "Feast"

    def prepare(self, settings: Settings) -> None:
        prepare_feast_repo(settings)

    def program(self, settings: Settings) -> Program:
        repo = feature_repo(settings)
        address = ("--host", LOOPBACK, "--port", str(settings.feast.port))
        command = (sys.executable, str(repo / "cli.py"), "--chdir", str(repo), "serve")
        return Program((*command, *address, *FLAGS), feast_environment(settings))

    def version(self, settings: Settings) -> str:
        # the one that runs here, of several
        here = settings.feast.model_copy(update={"nodes": ""})
        return pinged(FeastFeatures(here))


FEAST: Final = Feast()
