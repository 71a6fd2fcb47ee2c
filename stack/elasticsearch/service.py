"""Elasticsearch: inverted index and vector index of the items. One node on loopback, which asks for a password."""

import sys
from pathlib import Path
from typing import Final

from data_exchange_center.settings import Settings
from stack.elasticsearch.jars import fetch_all, locked_jars
from stack.service import (
    Program,
    Service,
    StackError,
    cluster_program,
    pinged,
)

VERSION: Final = "8.19.21"
HEAP: Final = "512m"
# variables in which a node finds whom it answers
USER: Final = "RECSYS_ELASTICSEARCH__USER"
PASSWORD: Final = "RECSYS_ELASTICSEARCH__PASSWORD"  # noqa: S105 (a name)


def library(settings: Settings) -> Path:
    """Folder of its installed jars."""
    return settings.services_dir / f"elasticsearch-{VERSION}"


def node_command(
    settings: Settings, home: Path, http_port: int, transport_port: int, *more: str
) -> tuple[str, ...]:
    """Command of a node on this machine.

    Args:
        settings: of the stack.
        home: folder of the node's data.
        http_port: for requests.
        transport_port: for other nodes; 0: any.
        more: further settings of the node, ``name=value``.
    """
    return (
        *(sys.executable, "-m", "stack.elasticsearch.node"),
        *(str(library(settings)), str(home)),
        *(f"http.port={http_port}", f"transport.port={transport_port}", *more),
    )


class Elasticsearch(Service):
    """One node, or the cluster that a plugin keeps."""

    name = "elasticsearch"
    title = "Elasticsearch"

    def install(self, settings: Settings) -> None:
        fetch_all(library(settings))

    def check(self, settings: Settings) -> None:
        folder = library(settings)
        if not all((folder / jar.filename).is_file() for jar in locked_jars()):
            raise StackError(
                f"Elasticsearch's jars are missing from {folder}: run `make setup`."
            )

    def program(self, settings: Settings) -> Program:
        place, home = settings.elasticsearch, settings.service_dir("elasticsearch")
        if place.cluster:
            return cluster_program(settings, "elasticsearch")
        command = node_command(settings, home, place.port, transport_port=0)
        # Not on the command line, which other accounts can read
        secret = dict(zip((USER, PASSWORD), place.login or (), strict=False))
        return Program(command, secret)

    def version(self, settings: Settings) -> str:
        # an image runs the node without the server's packages
        from online.clients.elastic import ElasticItems

        return pinged(ElasticItems(settings.elasticsearch))


ELASTICSEARCH: Final = Elasticsearch()
