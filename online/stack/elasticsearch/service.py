"""Elasticsearch: inverted index and vector index of the items. One node, without security, on loopback."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from data_exchange_center.settings import ELASTICSEARCH_NODES, Settings
from online.stack.elasticsearch.jars import locked_jars
from online.stack.service import Container, NotReadyError, Port, Program, Service, ask, cluster_program

VERSION: Final = "8.19.21"
HEAP: Final = "512m"
_HEALTH: Final = "http://127.0.0.1:9200/_cluster/health?wait_for_status=yellow&timeout=2s"


def library(settings: Settings) -> Path:
    """Folder of its installed jars."""
    return settings.services_dir / f"elasticsearch-{VERSION}"


def home(settings: Settings) -> Path:
    """Folder of the node, or of the nodes."""
    return settings.service_dir("elasticsearch")


def node_command(settings: Settings, folder: Path, http_port: int, transport_port: int) -> tuple[str, ...]:
    """Command of a node on this machine; ``folder``: its home."""
    return (
        sys.executable,
        *("-m", "online.stack.elasticsearch.node"),
        *("--library", str(library(settings))),
        *("--home", str(folder)),
        *("--http-port", str(http_port)),
        *("--transport-port", str(transport_port)),
        *("--heap", HEAP),
    )


class Elasticsearch(Service):
    """One node, or the cluster that a plugin keeps."""

    name = "elasticsearch"
    title = "Elasticsearch"
    group = "elasticsearch"
    ports = (
        Port(("elasticsearch", "port"), 9200, in_a_row=ELASTICSEARCH_NODES),
        Port(("elasticsearch", "transport_port"), 9300, in_a_row=ELASTICSEARCH_NODES),
    )
    container = Container(
        image="docker.elastic.co/elasticsearch/elasticsearch",
        tag=VERSION,
        tag_variable="ELASTICSEARCH_TAG",
        command=(),
        mounts={"elasticsearch/data": "/usr/share/elasticsearch/data"},
        healthcheck=("CMD", "curl", "-fsS", _HEALTH),
        built_healthcheck=("CMD", "healthy", _HEALTH),
        environment={
            "cluster.name": "recsys",
            "node.name": "node-1",
            "discovery.type": "single-node",
            "xpack.security.enabled": "false",
            "http.cors.enabled": "true",
            "cluster.routing.allocation.disk.threshold_enabled": "false",
            "ES_JAVA_OPTS": f"-Xms{HEAP} -Xmx{HEAP}",
        },
    )

    def prepare(self, settings: Settings) -> None:
        """Make the data folder, which a container mounts too; the node lays out the rest."""
        (home(settings) / "data").mkdir(parents=True, exist_ok=True)

    def missing(self, settings: Settings) -> str | None:
        folder = library(settings)
        absent = [jar.filename for jar in locked_jars() if not (folder / jar.filename).is_file()]
        return f"{len(absent)} of Elasticsearch's jars are missing from {folder}" if absent else None

    def program(self, settings: Settings) -> Program:
        place = settings.elasticsearch
        if place.cluster:
            return cluster_program(settings, "elasticsearch")
        return Program(node_command(settings, home(settings), place.port, place.transport_port))

    def version(self, settings: Settings) -> str:
        port = settings.elasticsearch.port
        health = ask("Elasticsearch", port, "/_cluster/health").json()
        if health["status"] == "red" or health["initializing_shards"]:
            raise NotReadyError(
                f"Elasticsearch is {health['status']}, {health['initializing_shards']} shards initializing"
            )
        if settings.elasticsearch.cluster and health["number_of_nodes"] < ELASTICSEARCH_NODES:
            raise NotReadyError(f"{health['number_of_nodes']} of Elasticsearch's {ELASTICSEARCH_NODES} nodes are there")
        nodes = ask("Elasticsearch", port, "/_nodes/_local?filter_path=nodes.*.version").json()["nodes"]
        return str(next(iter(nodes.values()))["version"])


ELASTICSEARCH: Final = Elasticsearch()
