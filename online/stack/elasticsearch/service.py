"""Elasticsearch: inverted index and vector index of the items. One node, without security, on loopback."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from data_exchange_center.settings import Settings
from online.stack.elasticsearch.jars import locked_jars
from online.stack.service import Container, NotReadyError, Port, Program, Service, ask

VERSION: Final = "8.19.21"
HEAP: Final = "512m"
_HEALTH: Final = "http://127.0.0.1:9200/_cluster/health?wait_for_status=yellow&timeout=2s"


def library(settings: Settings) -> Path:
    """Where its jars lie once they are installed."""
    return settings.services_dir / f"elasticsearch-{VERSION}"


def _home(settings: Settings) -> Path:
    return settings.service_dir("elasticsearch")


def prepare(settings: Settings) -> None:
    """The data folder, which a container mounts too; the node lays out the rest."""
    (_home(settings) / "data").mkdir(parents=True, exist_ok=True)


def missing(settings: Settings) -> str | None:
    folder = library(settings)
    absent = [jar.filename for jar in locked_jars() if not (folder / jar.filename).is_file()]
    return f"{len(absent)} of Elasticsearch's jars are missing from {folder}" if absent else None


def program(settings: Settings) -> Program:
    return Program(
        command=(
            sys.executable,
            *("-m", "online.stack.elasticsearch.node"),
            *("--library", str(library(settings))),
            *("--home", str(_home(settings))),
            *("--http-port", str(settings.elasticsearch.port)),
            *("--transport-port", str(settings.elasticsearch.transport_port)),
            *("--heap", HEAP),
        ),
        stop_wait_s=30,
    )


def version(settings: Settings) -> str:
    port = settings.elasticsearch.port
    health = ask("Elasticsearch", port, "/_cluster/health").json()
    if health["status"] == "red" or health["initializing_shards"]:
        raise NotReadyError(f"Elasticsearch is {health['status']}, {health['initializing_shards']} shards initializing")
    nodes = ask("Elasticsearch", port, "/_nodes/_local?filter_path=nodes.*.version").json()["nodes"]
    return str(next(iter(nodes.values()))["version"])


ELASTICSEARCH: Final = Service(
    name="elasticsearch",
    title="Elasticsearch",
    group="elasticsearch",
    ports=(Port(("elasticsearch", "port"), 9200), Port(("elasticsearch", "transport_port"), 9300)),
    prepare=prepare,
    missing=missing,
    program=program,
    version=version,
    container=Container(
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
            "cluster.routing.allocation.disk.threshold_enabled": "false",
            "ES_JAVA_OPTS": f"-Xms{HEAP} -Xmx{HEAP}",
        },
    ),
)
