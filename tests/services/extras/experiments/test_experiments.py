"""Experiments through the whole server and the real services, from their start to their exposures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
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


@pytest.fixture
def other(patient: Settings, world: World, worlds: dict[type[World], World]) -> Iterator[World]:
    """A release that is kept beside the one that is live. Afterwards there is no experiment."""
    other = worlds[SourceWorld]
    with redis.Redis(port=patient.redis.port) as client:
        client.rpush(wire.ACTIVATED_KEY, other.release)
        try:
            yield other
        finally:
            client.delete(wire.EXPERIMENTS_KEY, ALL_EXPERIMENTS_KEY)
            client.delete(*(wire.exposures_key(partition) for partition in range(wire.EVENT_PARTITIONS)))


def test_under_gunicorn_it_is_seen_by_every_worker_and_nothing_is_lost_when_they_end(
    patient: Settings, world: World, other: World, tmp_path: Path
) -> None:
    key = {"Authorization": f"Bearer {keys.add(tmp_path / 'api_keys', 'test')}"}
    arms = {"control": {"release": world.release}, "treatment": {"release": other.release}}
    body = {"name": "gunicorn", "arms": arms}
    own = patient.model_copy(update={"exchange_dir": tmp_path})
    more = {"keys_file": tmp_path / "api_keys", "budget_ms": 10_000, "workers": 2, "threads": 2}
    with running(tmp_path, own, **more) as (settings, _):
        url = settings.server.url

        def ask(userid: int, **more: Any) -> Any:  # a connection each, so that both workers get some
            response = requests.post(f"{url}/ml/rec", json={"userid": userid, **more}, timeout=30)
            assert response.ok, response.text
            return response.json()

        opened = lambda: all(ask(1, release=other.release) for _ in range(20))  # noqa: E731 (by both)
        until(opened, every_s=0.1, despite=(AssertionError,))
        started = requests.post(f"{url}/ml/experiments", json=body, headers=key, timeout=30)
        assert started.ok, started.text
        until(lambda: all("experiments" in ask(1, timestamp=1_500_000_000) for _ in range(20)))  # by every worker
        declared = Declaration.model_validate(body)
        unaware = 0
        for userid in world.userids:
            counted = 0
            while counted < 4:
                if "experiments" in (answer := ask(userid)):
                    assert answer["experiments"][0]["arms"] == [arm_of(declared, userid)]
                    counted += 1
                else:  # by a worker without a request so far: it hears of the start with its first
                    unaware += 1
                    assert unaware < 2
    with closing(ExperimentStore(patient.redis)) as store:
        found = list(store.exposures("gunicorn"))  # written when the workers ended, at the latest
    assert len(found) == 4 * len(world.userids)
