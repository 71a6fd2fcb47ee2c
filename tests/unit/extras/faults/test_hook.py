from __future__ import annotations

import sys
import time
from typing import Any

import pytest
from flask.testing import FlaskClient

from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from extras.faults import __main__ as command
from extras.faults import hook
from extras.faults.declaration import ActiveFault
from extras.keys import store as keys
from online.clients.base import Client, ServiceError
from online.recommend.outcomes import BadRequestError
from tests.unit.extras.asking import conforms
from tests.unit.extras.conftest import Fakes, serving
from tests.unit.extras.fakes import FakeFaults

DOWN = {"service": "triton", "kind": "down"}


@pytest.fixture
def store(fakes: Fakes) -> FakeFaults:
    return fakes.faults


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """In place of a real injection: the faults of services that have ended."""
    ended: list[str] = []

    def inject(client: Client[Any, Any], fault: ActiveFault) -> Any:
        return lambda: ended.append(client.service)

    monkeypatch.setattr(hook, "inject", inject)
    return ended


@pytest.fixture
def admin(fakes: Fakes, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> FlaskClient:
    """With a key, of a server that allows faults."""
    monkeypatch.setenv("RECSYS_SERVER__FAULTS", "on")
    path = tmp_path / "api_keys"
    client = fakes.client(keys_file=path)
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {keys.add(path, 'me')}"
    return client


def test_a_server_refuses_faults_by_default(with_a_key: FlaskClient) -> None:
    found = with_a_key.get("/ml/faults").json
    conforms(found, "FaultsView")
    assert found == {"allowed": False, "faults": []}
    for answer in (
        with_a_key.post("/ml/faults", json=DOWN),
        with_a_key.delete("/ml/faults"),
    ):
        assert answer.status_code == 403
        assert "RECSYS_SERVER__FAULTS=on" in answer.json["error"]["message"]


def test_a_fault_begins_is_replaced_and_ends(
    admin: FlaskClient, store: FakeFaults, ended: list[str]
) -> None:
    assert admin.post("/ml/faults", json=DOWN | {"share": 0}).status_code == 400
    found = admin.post("/ml/faults", json={**DOWN, "share": 0.5, "seconds": 30}).json
    conforms(found, "FaultsView")
    ready = admin.application.extensions["recsys"].recommender.readiness()
    assert ready.notes == ["fault of triton: down, share 0.5"]
    (begun,) = found["faults"]
    assert begun["until"] == pytest.approx(time.time() + 30, abs=5)
    (slow,) = admin.post("/ml/faults", json={**DOWN, "kind": "slow"}).json["faults"]
    assert slow["kind"] == "slow"
    assert ended == ["triton"]
    assert admin.delete("/ml/faults").json == {"allowed": True, "faults": []}
    assert ended == ["triton", "triton"]
    assert store.active == {}


def test_a_fault_ends_by_its_time_while_redis_is_away(
    fakes: Fakes, store: FakeFaults, ended: list[str]
) -> None:
    faults = hook.Faults(fakes.recommender, store)  # type: ignore[arg-type]
    store.active["redis"] = ActiveFault(
        service="redis", kind="down", until=time.time() + 0.2
    )
    assert faults.look()
    assert [each.service for each in faults.views()] == ["redis"]
    store.down = True
    with pytest.raises(ServiceError):
        faults.look()
    assert ended == []
    time.sleep(0.2)
    with pytest.raises(ServiceError):
        faults.look()
    assert (ended, faults.views()) == (["redis"], [])


def run(
    monkeypatch: pytest.MonkeyPatch, store: FakeFaults, url: str, *arguments: str
) -> None:
    port = int(url.rpartition(":")[2])
    monkeypatch.setattr(sys, "argv", ["faults", *arguments])
    monkeypatch.setattr(command, "FaultStore", lambda _: store)
    command.main(Settings(server={"port": port}))


def test_the_command_switches_faults_on_and_off(
    admin: FlaskClient, store: FakeFaults, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = "--service feast --kind slow --share 0.5 --seconds 5"
    with serving(admin.application) as url:
        run(monkeypatch, store, url, *wanted.split())
        fault = store.active["feast"]
        assert (fault.kind, fault.share, fault.seconds) == ("slow", 0.5, 5)
        with pytest.raises(BadRequestError, match="kind"):
            run(monkeypatch, store, url, "--service", "feast")
    # possible without a server, too
    run(monkeypatch, store, "http://127.0.0.1:1", "--off")
    assert store.active == {}


def test_the_command_refuses_a_server_that_allows_none(
    fakes: Fakes, url: str, store: FakeFaults, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(StepError, match="RECSYS_SERVER__FAULTS=on"):
        run(monkeypatch, store, url, "--service", "feast", "--kind", "down")
    assert store.begun == []
