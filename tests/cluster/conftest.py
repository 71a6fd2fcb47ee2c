"""The stack with Redis and Elasticsearch as clusters, Feast and Triton beside them, on ports of their own."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from data_exchange_center.service_settings import ELASTICSEARCH_NODES
from data_exchange_center.settings import Settings, load_settings


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Patient, as the machine may be busy: three shards, a replica each.

    RECSYS_TEST_STACK=running: the stack that the RECSYS_* variables describe is used instead, and left running.
    """
    if os.environ.get("RECSYS_TEST_STACK") == "running":
        yield load_settings()
        return
    from online.stack import commands  # not in Spark's environment, where tests/cluster/spark runs
    from online.stack.catalogue import SERVICES
    from tests.cluster.redis_cluster import clustered
    from tests.free_ports import free_block, settings_on_free_ports

    settings = clustered(settings_on_free_ports(tmp_path_factory.mktemp("exchange")), timeout_s=2.5)
    first = free_block(2 * ELASTICSEARCH_NODES)
    search = {"cluster": True, "port": first, "transport_port": first + ELASTICSEARCH_NODES, "timeout_s": 2.5}
    patient = {name: getattr(settings, name).model_copy(update={"timeout_s": 2.5}) for name in ("feast", "triton")}
    settings = settings.model_copy(
        update={
            **patient,
            "elasticsearch": settings.elasticsearch.model_copy(update={**search, "shards": 3, "replicas": 1}),
        }
    )
    try:
        commands.up(settings, SERVICES)
        yield settings
    finally:
        commands.down(settings, None)
