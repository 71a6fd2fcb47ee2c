"""The stack with Redis and Elasticsearch as clusters, Feast and Triton with them, on ports of their own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from data_exchange_center.settings import ELASTICSEARCH_NODES, Settings
from offline_to_online.stores.base import patient
from stack.service import LOOPBACK
from tests.cluster.processes import clustered
from tests.free_ports import free_block, settings_on_free_ports
from tests.own_stack import own_or_running_stack


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    with own_or_running_stack(
        lambda: all_clustered(tmp_path_factory.mktemp("exchange"))
    ) as settings:
        yield settings


def all_clustered(exchange_dir: Path) -> Settings:
    """Patient settings, as the machine may be busy: three shards, a replica each.

    Triton listens on a port, as one of several does.
    """
    settings = patient(clustered(settings_on_free_ports(exchange_dir)), 2.5)
    first = free_block(2 * ELASTICSEARCH_NODES)
    search = {
        "cluster": True,
        "port": first,
        "transport_port": first + ELASTICSEARCH_NODES,
    }
    elasticsearch = settings.elasticsearch.model_copy(
        update={**search, "shards": 3, "replicas": 1}
    )
    on_port = {"socket_dir": None, "nodes": f"{LOOPBACK}:{settings.triton.http_port}"}
    triton = settings.triton.model_copy(update=on_port)
    return settings.model_copy(
        update={"elasticsearch": elasticsearch, "triton": triton}
    )
