"""Feast feature server: user and item features for ranking, kept in Redis."""

from __future__ import annotations

import shutil
import sys
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Final

from data_exchange_center.files import written_in_place
from data_exchange_center.settings import Settings
from stack.service import BIN, LOOPBACK, Port, Program, Service

STATIC_FILES: Final = Path(__file__).with_name("feature_repo")
FLAGS: Final = (
    *("--registry_ttl_sec", "2"),  # how soon a newly applied release is known
    *("--workers", "1"),
    *("--max-requests", "0"),  # its default ends a worker every thousand requests, and with one worker the service
    "--no-access-log",
)


def feature_repo(settings: Settings) -> Path:
    return settings.service_dir("feast") / "feature_repo"


def feast_environment(settings: Settings) -> dict[str, str]:
    """Environment that feature_store.yaml reads, in `feast apply` and `feast serve`."""
    redis = settings.redis
    address = ",".join(f"{host}:{port}" for host, port in redis.addresses)
    if not redis.cluster:  # which has one database
        address += f",db={redis.feast_db}"
    if redis.password:
        address += f",password={redis.password.get_secret_value()}"
    return {"FEAST_REDIS": address, "FEAST_REDIS_TYPE": "redis_cluster" if redis.cluster else "redis"}


def prepare_feast_repo(settings: Settings) -> Path:
    """Put the feature repository's static files in place and return its folder; what else lies there stays."""
    folder = feature_repo(settings)
    for source in sorted(STATIC_FILES.iterdir()):
        if source.is_file():
            with written_in_place(folder / source.name) as temporary:
                shutil.copyfile(source, temporary)
    (folder / "data").mkdir(parents=True, exist_ok=True)
    return folder


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
