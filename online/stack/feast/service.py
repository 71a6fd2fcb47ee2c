"""Feast feature server: user and item features for ranking, kept in Redis."""

from __future__ import annotations

import shutil
import sys
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Final

from data_exchange_center.files import written_in_place
from data_exchange_center.settings import Settings
from online.stack.redis.service import PASSWORD_FILE
from online.stack.service import BIN, LOOPBACK, Container, Port, Program, Service, ask

VERSION: Final = "0.67.0"
REPOSITORY: Final = "feast/feature_repo"
STATIC_FILES: Final = Path(__file__).with_name("feature_repo")
FLAGS: Final = (
    *("--registry_ttl_sec", "2"),  # how soon a newly applied release is known
    *("--workers", "1"),
    *("--max-requests", "0"),  # its default ends a worker every thousand requests, and with one worker the service
    "--no-access-log",
)
_HEALTH: Final = "http://127.0.0.1:6566/health"
# The password comes from a file: `docker inspect` shows what is in the environment.
_CONTAINER_COMMAND: Final = (
    f"""FEAST_REDIS="$$FEAST_REDIS_ADDRESS,password=$$(cat {PASSWORD_FILE})"; export FEAST_REDIS; """
    f"exec python /feature_repo/cli.py --chdir /feature_repo serve --host 0.0.0.0 --port 6566 {' '.join(FLAGS)}"
)


def feature_repo(settings: Settings) -> Path:
    return settings.exchange_dir / "online" / REPOSITORY


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
    group = "feast"
    ports = (Port(("feast", "port"), 6566),)
    container = Container(
        image="feastdev/feature-server",
        tag=VERSION,
        tag_variable="FEAST_TAG",
        command=("sh", "-c", _CONTAINER_COMMAND),
        mounts={REPOSITORY: "/feature_repo"},
        healthcheck=(
            "CMD",
            "python",
            "-c",
            f"import urllib.request; urllib.request.urlopen('{_HEALTH}', timeout=3)",
        ),
        built_healthcheck=("CMD", "healthy", _HEALTH),
        environment={
            "FEAST_REDIS_ADDRESS": "redis:6379,db=${RECSYS_REDIS__FEAST_DB:-1}",
            "FEAST_REDIS_TYPE": "redis",
            "FEAST_HOSTS": "127.0.0.1,localhost,feast",
            "HOME": "/tmp",  # noqa: S108 (whose user has no home)
        },
        secrets=("redis_password",),
    )

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
        ask("Feast", settings.feast.port, "/health")
        return installed_version("feast")


FEAST: Final = Feast()
