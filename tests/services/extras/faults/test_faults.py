"""Each kind of fault of each service in the calls of a real server's two workers, and the alerts that faults cause."""

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from data_exchange_center.settings import Settings
from extras.faults.declaration import KINDS, SERVICES, Fault, FaultStore
from extras.monitoring.__main__ import BUDGET_ALERT
from offline_to_online.stores import base
from tests.prometheus import Prometheus
from tests.services.conftest import ONE_WORLD
from tests.services.online.load import (
    INSTEAD,
    Load,
    bodies_of,
    load,
    under_load,
)
from tests.unit.online.world import AT, World
from tests.waiting import until

BUDGET_MS = 2000  # the default is for a machine of one's own
CALL_S = 1.5  # of a service
SECONDS = 3
PATIENCE_S = 60.0
USERS = (1, 2, 3)
DEGRADED = "recsys_degradations_total{"

pytestmark = ONE_WORLD


@dataclass
class Server:
    url: str
    answers: Load
    store: FaultStore

    def metric(self, name: str) -> float:
        page = requests.get(f"{self.url}/metrics", timeout=30).text
        return sum(
            float(line.rpartition(" ")[2])
            for line in page.splitlines()
            if line.startswith(name)
        )


@pytest.fixture(scope="module")
def server(
    patient: Settings, world: World, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A server that allows faults, under load."""
    bodies = bodies_of(USERS, AT, BUDGET_MS)
    settings, folder = base.patient(patient, CALL_S), tmp_path_factory.mktemp("faults")
    limits = {"budget_ms": BUDGET_MS, "workers": 2, "threads": 4}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECSYS_SERVER__FAULTS", "on")
        with (
            under_load(settings, folder, bodies, 2, 0.1, **limits) as (
                started,
                answers,
            ),
            closing(FaultStore(patient.redis)) as store,
        ):
            yield Server(started.server.url, answers, store)
            store.end()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("service", SERVICES)
def test_every_request_is_answered_and_the_fault_ends(
    server: Server, service: str, kind: str
) -> None:
    load = server.answers
    for userid in USERS:  # that both workers know then
        for _ in range(2):
            load.wait(
                lambda answer, wanted=userid: (
                    answer.whole and answer.body["userid"] == wanted
                ),
                PATIENCE_S,
            )
    begin, before = time.monotonic(), server.metric(DEGRADED)
    fault = {"service": service, "kind": kind, "seconds": SECONDS, "wait_ms": 10_000}
    server.store.begin(Fault.model_validate(fault))
    load.wait(lambda answer: service in answer.degraded, PATIENCE_S, begin)
    time.sleep(max(0.0, begin + SECONDS - time.monotonic()))
    load.wait(lambda answer: answer.whole, PATIENCE_S)
    answers = load.between(begin, time.monotonic())
    assert {each.status for each in answers} == {200}, [
        each.body for each in answers if each.status != 200
    ][:3]
    assert {len(each.body["item_list"]) for each in answers} == {50}
    degraded = [each.degraded[service] for each in answers if service in each.degraded]
    assert INSTEAD[service] <= {each["instead"] for each in degraded}
    assert all(each["reason"] for each in degraded)
    assert server.metric(DEGRADED) > before


def test_all_workers_end_a_fault_that_is_switched_off(server: Server) -> None:
    begin = time.monotonic()
    server.store.begin(Fault(service="triton", kind="down", share=0.5, seconds=600))
    server.answers.wait(lambda answer: "triton" in answer.degraded, PATIENCE_S, begin)
    server.store.end()
    time.sleep(2.0)
    off = time.monotonic()
    time.sleep(2.0)
    assert all(each.whole for each in server.answers.between(off, time.monotonic()))
    found = requests.get(f"{server.url}/ml/faults", timeout=30).json()
    assert found == {"allowed": True, "faults": []}


@pytest.mark.parametrize(
    ("objective", "service", "kind", "strict", "others"),
    [
        ("availability", "triton", "down", True, {"whole"}),
        ("latency", "elasticsearch", "slow", False, set()),
        ("whole", "feast", "down", False, set()),
        ("freshness", "redis", "down", False, {"whole"}),
    ],
)
def test_a_fault_fires_the_alert_of_its_target_of_service(
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    objective: str,
    service: str,
    kind: str,
    strict: bool,
    others: set[str],
) -> None:
    bodies = bodies_of([1], AT, BUDGET_MS, strict=strict)

    def firing() -> set[str]:
        alerts = prometheus.get("alerts")["alerts"]
        labels = [each["labels"] for each in alerts if each["state"] == "firing"]
        return {
            each["objective"] for each in labels if each["alertname"] == BUDGET_ALERT
        }

    with (
        Prometheus(tmp_path, server.url, monkeypatch, fast=True) as prometheus,
        load(server.url, bodies, 2, 0.1),
    ):
        scraped = "count_over_time(recsys:bad_share:rate5s[10s]) > 5"
        until(lambda: prometheus.value(scraped) != [], PATIENCE_S)
        until(lambda: not firing(), PATIENCE_S)
        fault = {"service": service, "kind": kind, "wait_ms": 500}
        server.store.begin(Fault.model_validate(fault))
        until(lambda: objective in firing(), PATIENCE_S)
        # a busy machine may be slow, too
        assert firing() <= {objective, "latency"} | others
        server.store.end()
        until(lambda: not firing(), PATIENCE_S)
