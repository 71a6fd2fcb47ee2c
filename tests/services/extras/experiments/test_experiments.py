"""Experiments through the whole server and the real services, from their start to their exposures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis
import requests

from data_exchange_center import wire
from data_exchange_center.settings import Settings
from extras.experiments.declaration import Declaration, arm_of
from extras.experiments.store import ALL_EXPERIMENTS_KEY, ExperimentStore
from extras.keys import hook as keys
from tests.services.online.gunicorn_server import running
from tests.unit.online.world import DefaultWorld, SourceWorld, World
from tests.waiting import until

pytestmark = pytest.mark.parametrize("world", [DefaultWorld], ids=["DefaultWorld"], indirect=True)


@dataclass(frozen=True)
class Two:
    """Two releases that are kept, the first of them live."""

    settings: Settings
    key: str
    live: World
    other: World
    store: ExperimentStore

    def body(self, name: str, **more: Any) -> dict[str, Any]:
        arms = {"control": {"release": self.live.release}, "treatment": {"release": self.other.release}}
        return {"name": name, "arms": arms, **more}


@pytest.fixture
def two(patient: Settings, world: World, worlds: dict[type[World], World], tmp_path: Path) -> Iterator[Two]:
    path, other = tmp_path / "api_keys", worlds[SourceWorld]
    server = patient.server.model_copy(update={"keys_file": path, "budget_ms": 10_000})
    settings = patient.model_copy(update={"server": server})
    with redis.Redis(port=patient.redis.port) as client, closing(ExperimentStore(settings.redis)) as store:
        client.rpush(wire.ACTIVATED_KEY, other.release)
        try:
            yield Two(settings, keys.add(path, "test"), world, other, store)
        finally:
            client.delete(wire.EXPERIMENTS_KEY, ALL_EXPERIMENTS_KEY)
            client.delete(*(wire.exposures_key(partition) for partition in range(wire.EVENT_PARTITIONS)))


def test_under_gunicorn_it_is_seen_by_every_worker_and_nothing_is_lost_when_they_end(two: Two, tmp_path: Path) -> None:
    own = two.settings.model_copy(update={"exchange_dir": tmp_path})
    with running(tmp_path, own, workers=2, threads=2) as (settings, _), requests.Session() as http:
        url = settings.server.url

        def ask(userid: int, **more: Any) -> Any:  # a connection each, so that both workers get some
            response = requests.post(f"{url}/ml/rec", json={"userid": userid, **more}, timeout=30)
            assert response.ok, response.text
            return response.json()

        opened = lambda: all(ask(1, release=two.other.release) for _ in range(20))  # noqa: E731 (by both)
        until(opened, every_s=0.1, despite=(AssertionError,))
        key = {"Authorization": f"Bearer {two.key}"}
        started = http.post(f"{url}/ml/experiments", json=two.body("gunicorn"), headers=key, timeout=30)
        assert started.ok, started.text
        until(lambda: all("experiments" in ask(1, timestamp=1_500_000_000) for _ in range(20)))  # by every worker
        declared = Declaration.model_validate(two.body("gunicorn"))
        unaware = 0
        for userid in two.live.userids:
            counted = 0
            while counted < 4:
                if "experiments" in (answer := ask(userid)):
                    assert answer["experiments"][0]["arms"] == [arm_of(declared, userid)]
                    counted += 1
                else:  # by a worker without a request so far: it hears of the start with its first
                    unaware += 1
                    assert unaware < 2
    found = list(two.store.exposures("gunicorn"))  # written when the workers ended, at the latest
    assert len(found) == 4 * len(two.live.userids)
