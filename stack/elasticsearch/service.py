"""Elasticsearch: inverted index and vector index of the items. One node, without security, on loopback."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from data_exchange_center.settings import ELASTICSEARCH_NODES, Settings
from stack.elasticsearch.jars import fetch_all, locked_jars
from stack.service import NotReadyError, Port, Program, Service, cluster_program

VERSION: Final = "8.19.21"
HEAP: Final = "512m"


def library(settings: Settings) -> Path:
    """Folder of its installed jars."""
    return settings.services_dir / f"elasticsearch-{VERSION}"


def node_command(settings: Settings, home: Path, http_port: int, transport_port: int, *more: str) -> tuple[str, ...]:
    """Command of a node on this machine; ``more``: further settings of it, ``name=value``."""
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
        Port(("elasticsearch", "transport_port"), 9300, in_a_row=ELASTICSEARCH_NODES),
    )

    def prepare(self, settings: Settings) -> None:
        """Make the data folder, which a container mounts too; the node lays out the rest."""
        (settings.service_dir("elasticsearch") / "data").mkdir(parents=True, exist_ok=True)

    def missing(self, settings: Settings) -> str | None:
        folder = library(settings)
        absent = [jar.filename for jar in locked_jars() if not (folder / jar.filename).is_file()]
        return f"{len(absent)} of Elasticsearch's jars are missing from {folder}" if absent else None

    def install(self, settings: Settings) -> None:
        if self.missing(settings) is not None:
            fetch_all(library(settings))

    def program(self, settings: Settings) -> Program:
        place, home = settings.elasticsearch, settings.service_dir("elasticsearch")
        if place.cluster:
            return cluster_program(settings, "elasticsearch")
        return Program(node_command(settings, home, place.port, place.transport_port))

    def version(self, settings: Settings) -> str:
        health = self.ask(settings, "/_cluster/health").json()
        if health["status"] == "red" or health["initializing_shards"]:
            raise NotReadyError(
                f"Elasticsearch is {health['status']}, {health['initializing_shards']} shards initializing"
            )
        if settings.elasticsearch.cluster and health["number_of_nodes"] < ELASTICSEARCH_NODES:
            raise NotReadyError(f"{health['number_of_nodes']} of Elasticsearch's {ELASTICSEARCH_NODES} nodes are there")
        nodes = self.ask(settings, "/_nodes/_local?filter_path=nodes.*.version").json()["nodes"]
        return str(next(iter(nodes.values()))["version"])


ELASTICSEARCH: Final = Elasticsearch()
