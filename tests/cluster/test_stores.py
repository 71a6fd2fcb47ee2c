"""The sync into clusters, and the server over them while their nodes are killed.

The tests of this file run in order and build on one another.
"""

import time
from collections.abc import Iterator
from contextlib import closing

import psutil
import pytest
import requests
from tenacity import Retrying, stop_after_delay, wait_fixed

from data_exchange_center import wire
from data_exchange_center.settings import Settings
from extras.doctor import __main__ as doctor
from offline_to_online.releases import Stores, activate
from offline_to_online.stores.base import elastic_client, redis_client
from online.clients.redis import RedisUsers, UserQuery
from online.recommend.recommend import Recommender
from stack.supervision import members
from tests.cluster.conftest import has_taken_over, masters, server_process
from tests.services.offline_to_online.releases import (
    REQUESTS,
    SYNC,
    answer,
    live,
    same,
    written,
)
from tests.services.online.load import Load, few, under_load
from tests.waiting import until

BUDGET_MS = 4_000
CLIENTS, PAUSE_S = 4, 0.02
BACK_WITHIN_S = 120  # a node, on a busy machine


@pytest.fixture(scope="module")
def settings(stack: Settings) -> Settings:
    """A release is live."""
    settings = written(stack, "default", 1)
    for step in SYNC:
        step.main(settings)
    return settings


def test_a_release_goes_live_as_on_single_services(settings: Settings) -> None:
    published = live(settings)
    release = published.manifest.release
    assert published.manifest.parity is not None, "offline and online agree"
    with elastic_client(settings) as client:
        index = client.indices.get_settings(index=wire.item_index(release))[
            wire.item_index(release)
        ]["settings"]
        assert (
            index["index"]["number_of_shards"],
            index["index"]["number_of_replicas"],
        ) == ("3", "1")
        assert (
            client.cluster.health(index=wire.item_index(release))["status"] == "green"
        )
        shards = client.cat.shards(index=wire.item_index(release), format="json")
        assert len({shard["node"] for shard in shards}) == 3
    with closing(RedisUsers(settings.redis)) as users:
        assert users.control().active == release
        for userid in REQUESTS:
            assert users.call(UserQuery.of(userid, published.manifest)).published


def test_activate_next_roll_back_and_delete(settings: Settings) -> None:
    first = live(settings)
    before = answer(settings, first)
    second = written(settings, "source", 2)
    for step in SYNC:
        step.main(second)
    other = live(second).manifest.release
    assert other != first.manifest.release
    activate(settings, first.manifest.release)
    assert same(answer(settings, live(settings)), before)
    with closing(RedisUsers(settings.redis)) as users:
        assert users.control().active == first.manifest.release
    store = Stores.of(settings).redis
    store.delete({other})
    assert store.releases() == {first.manifest.release}
    with redis_client(settings) as client:
        assert not list(client.scan_iter(f"ml:{other}:*"))


@pytest.fixture(scope="module")
def requested(
    settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Load]:
    """A server under requests without a pause."""
    bodies = [
        {"userid": userid, "timestamp": at, "budget_ms": BUDGET_MS}
        for userid, at in REQUESTS.items()
    ]
    bodies += [{"userid": userid, "budget_ms": BUDGET_MS} for userid in range(1, 40)]
    folder = tmp_path_factory.mktemp("server")
    limits = {"budget_ms": BUDGET_MS, "workers": 1}
    with under_load(settings, folder, bodies, CLIENTS, PAUSE_S, **limits) as (_, load):
        load.wait(lambda each: each.whole, 120)
        yield load


def node_process(settings: Settings, number: int) -> psutil.Process:
    for process in members(settings):
        command = process.cmdline()
        if (
            "stack.elasticsearch.node" in command
            and f"node.name=node-{number}" in command
        ):
            return process
    raise AssertionError(f"no node {number}")


@pytest.mark.parametrize("which", ["master", "another"])
def test_an_elasticsearch_node_killed_under_load_costs_no_answer(
    settings: Settings, requested: Load, which: str
) -> None:
    with elastic_client(settings) as client:
        elected = int(client.cat.master(format="json")[0]["node"].removeprefix("node-"))
    requested.wait(lambda each: each.whole, 120)
    begin = time.monotonic()
    node_process(settings, elected if which == "master" else elected % 3 + 1).kill()
    with elastic_client(settings) as client:
        patient = client.options(request_timeout=BACK_WITHIN_S + 10)
        for nodes in (
            "<3",
            "3",
        ):  # it is missed first: the health before that is not worth a thing
            found = patient.cluster.health(
                wait_for_nodes=nodes, timeout=f"{BACK_WITHIN_S}s"
            )
            assert not found["timed_out"]
        back = patient.cluster.health(
            wait_for_status="green", timeout=f"{BACK_WITHIN_S}s"
        )
    assert not back["timed_out"]
    answers = requested.between(begin, time.monotonic())
    wrong = [each for each in answers if each.status != requests.codes.ok]
    assert len(answers) > 50
    assert wrong == []
    degraded = [each for each in answers if "elasticsearch" in each.degraded]
    assert few(degraded, answers), (
        f"{len(degraded)} of {len(answers)} answers lack what Elasticsearch has"
    )


def test_a_redis_master_killed_under_load_costs_no_answer(
    settings: Settings, requested: Load
) -> None:
    """For some seconds users of its slots are answered from the state last known, and the answers say so."""
    requested.wait(lambda each: each.whole, 120)
    until(lambda: sorted(map(len, masters(settings).values())) == [1, 1, 1])
    port, (replica,) = next(iter(masters(settings).items()))
    begin = time.monotonic()
    server_process(settings, port).kill()
    until(lambda: has_taken_over(settings, replica, port), 60)
    over = time.monotonic()

    def the_replica_answers_for_it() -> bool:
        newest = requested.between(over, float("inf"))[-40:]
        return len(newest) == 40 and not any(
            "redis" in each.degraded for each in newest
        )

    until(the_replica_answers_for_it, 60)
    answers = requested.between(begin, time.monotonic())
    assert [each for each in answers if each.status != requests.codes.ok] == []


def test_the_doctor_finds_nothing(settings: Settings, requested: Load) -> None:
    """The nodes are back, a server runs, and the artifacts of the release that is live lie here again."""
    again = written(settings, "default", 1)
    for attempt in Retrying(
        stop=stop_after_delay(BACK_WITHIN_S), wait=wait_fixed(1), reraise=True
    ):
        with attempt, closing(Recommender.from_settings(again)) as server:
            found = doctor.examine(again, server.clients, Stores.of(again))
            assert [each for each in found if not each.well] == []
