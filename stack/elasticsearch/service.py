"""Elasticsearch: inverted index and vector index of the items. One node on loopback, which asks for a password."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from data_exchange_center.settings import ELASTICSEARCH_NODES, Settings
from stack.elasticsearch.jars import fetch_all, locked_jars
from stack.service import (
    NotReadyError,
    Port,
    Program,
    Service,
    cluster_program,
    generated_secret,
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
        sys.executable,
        *("-m", "stack.elasticsearch.node"),
        *("--library", str(library(settings))),
        *("--home", str(home)),
        *(f"http.port={http_port}", f"transport.port={transport_port}", *more),
    )


class Elasticsearch(Service):
    """One node, or the cluster that a plugin keeps."""

    name = "elasticsearch"
    title = "Elasticsearch"
    ports = (
        Port(("elasticsearch", "port"), 9200, in_a_row=ELASTICSEARCH_NODES),
        Port(
            ("elasticsearch", "transport_port"),
            9300,
            in_a_row=ELASTICSEARCH_NODES,
            in_cluster_only=True,
        ),
    )

    def prepare(self, settings: Settings) -> None:
        """Make a password unless one is configured, and the data folder, which a container mounts too.

        The node lays out the rest.
        """
        (settings.service_dir("elasticsearch") / "data").mkdir(
            parents=True, exist_ok=True
        )
        own = settings.password_file("elasticsearch")
        if settings.elasticsearch.password_file == own:
            generated_secret(own)

    def missing(self, settings: Settings) -> str | None:
        folder = library(settings)
        absent = [
            jar.filename
            for jar in locked_jars()
            if not (folder / jar.filename).is_file()
        ]
        return (
            f"{len(absent)} of Elasticsearch's jars are missing from {folder}"
            if absent
            else None
        )

    def install(self, settings: Settings) -> None:
        if self.missing(settings) is not None:
            fetch_all(library(settings))

    def program(self, settings: Settings) -> Program:
        place, home = settings.elasticsearch, settings.service_dir("elasticsearch")
        if place.cluster:
            return cluster_program(settings, "elasticsearch")
        login = place.login
        # Not on the command line, which other accounts can read
        environment = dict(zip((USER, PASSWORD), login, strict=True)) if login else {}
        return Program(
            node_command(settings, home, place.port, transport_port=0), environment
        )

    def version(self, settings: Settings) -> str:
        health = self.ask(
            settings, "/_cluster/health", login=settings.elasticsearch.login
        ).json()
        if health["status"] == "red" or health["initializing_shards"]:
            raise NotReadyError(
                f"Elasticsearch is {health['status']}, {health['initializing_shards']} shards initializing"
            )
        if (
            settings.elasticsearch.cluster
            and health["number_of_nodes"] < ELASTICSEARCH_NODES
        ):
            raise NotReadyError(
                f"{health['number_of_nodes']} of Elasticsearch's {ELASTICSEARCH_NODES} nodes are there"
            )
        return VERSION


ELASTICSEARCH: Final = Elasticsearch()
