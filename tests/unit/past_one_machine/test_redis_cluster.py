"""Where a cluster keeps what; and one that does not answer, of which redis-py says what is none of its RedisErrors."""

import os
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import redis
from redis.crc import key_slot
from redis.exceptions import RedisClusterException

from data_exchange_center import wire
from data_exchange_center.settings import RedisSettings
from extras.events.log import (
    STREAMS,
    event_log_key,
    exposures_key,
    noted_events_key,
)
from online.clients.base import ServiceError
from online.clients.redis import RedisUsers, UserQuery
from past_one_machine.redis_cluster import ClusterClient
from tests.free_ports import free_ports
from tests.waiting import until

# Where a cluster keeps what; and one that does not answer, of which redis-py says what is none of its RedisErrors.

RELEASE = "aaaaaaaaaaaa"
MANIFEST = wire.manifest_key(RELEASE)


def nobody() -> RedisSettings:
    (port,) = free_ports(1)
    return RedisSettings(cluster=True, nodes=f"127.0.0.1:{port}")


def test_where_no_node_answers_the_service_does_not() -> None:
    with closing(RedisUsers(nobody())) as users:
        with pytest.raises(ServiceError):
            users.call(UserQuery(1, None, None))
        with pytest.raises(ServiceError):
            users.ping()


def test_the_first_error_is_raised_not_the_retrys() -> None:
    def initialize() -> None:
        raise RedisClusterException("no node answers")

    cluster: Any = SimpleNamespace(
        get_node_from_key=lambda key: SimpleNamespace(name=key),
        get_redis_connection=lambda node: node,
        nodes_manager=SimpleNamespace(initialize=initialize),
    )
    client = ClusterClient(nobody(), timeout_s=1.0)
    client._cluster = cluster
    with pytest.raises(redis.TimeoutError, match="the caller's"), client.at("key"):
        raise redis.TimeoutError("the caller's")


@pytest.mark.parametrize("userid", [1, "anna", "{x}", "}{", "a:b"])
def test_all_that_a_request_reads_is_in_one_slot(userid: int | str) -> None:
    client, partition = (
        ClusterClient(nobody(), timeout_s=1.0),
        wire.event_partition(userid),
    )
    keys = {
        client.user_key(RELEASE, userid),
        client.copy_for(MANIFEST, userid),
    }
    keys |= {key("films", userid) for key in (wire.user_events_key, noted_events_key)}
    keys |= {
        event_log_key("films", partition),
        *(exposures_key(partition, each) for each in STREAMS),
    }
    assert len({key_slot(key.encode()) for key in keys}) == 1


def test_every_partition_has_a_copy_of_the_manifest() -> None:
    client = ClusterClient(nobody(), timeout_s=1.0)
    read = {client.copy_for(MANIFEST, userid) for userid in range(1_000)}
    assert read == set(client.copies(MANIFEST))
    assert len(read) == wire.EVENT_PARTITIONS
    assert MANIFEST not in read


# clusters

PROGRAM = """
import sys
from past_one_machine import clusters
clusters.RESTART_S = 0.1
sleep = "import time, sys; time.sleep(600)"
commands = {name: [sys.executable, "-c", sleep, name] for name in ("one", "two")}
clusters.keep_running(commands, lambda: print("next to", flush=True))
"""


def test_ended_nodes_restart_and_all_stop_together(tmp_path: Path) -> None:
    with (tmp_path / "said").open("w") as said:
        started = subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=said)
    children = psutil.Process(started.pid).children
    try:
        until(lambda: len(children()) == 2)
        before = {child.pid for child in children()}
        gone = min(before)
        os.kill(gone, signal.SIGKILL)
        until(lambda: len({child.pid for child in children()} - before) == 1)
        assert gone not in {child.pid for child in children()}
        left = children()
        started.terminate()
        assert started.wait(60) == 0
        assert not any(child.is_running() for child in left)
        assert (tmp_path / "said").read_text() == "next to\n", "once"
    finally:
        started.kill()
