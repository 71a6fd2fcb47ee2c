"""Experiments through the whole server and the real services, and in Redis, from their start to their exposures."""

import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis
import requests

from data_exchange_center import wire
from data_exchange_center.settings import Settings
from extras.events.log import EXPOSURES, EventLog, exposures_key
from extras.trials.changes import start_experiment, stop_experiment
from extras.trials.exposures import Exposure, ExposureQueue
from extras.trials.state import Declaration, Trials
from extras.trials.store import KEPT, KEY, TrialStore
from offline_to_online.stores.base import redis_client
from online.clients.base import ServiceError, StoredError
from online.recommend.poller import Poller
from stack.supervision import Supervisor
from tests.own_stack import redis_of
from tests.services.conftest import ONE_WORLD
from tests.services.online.load import running
from tests.unit.extras.trials.contracts import (
    LIVE,
    TrialStoreContract,
    started_one,
)
from tests.unit.online.world import SourceWorld, World
from tests.waiting import until


@pytest.fixture
def other(
    patient: Settings, world: World, worlds: dict[type[World], World]
) -> Iterator[World]:
    """A release that is kept next to the one that is live. Afterwards there is no experiment."""
    other = worlds[SourceWorld]
    with redis_of(patient) as client:
        client.rpush(wire.PUBLISHED_KEY, other.release)
        yield other
        client.delete(KEY, *map(exposures_key, range(wire.EVENT_PARTITIONS)))


@ONE_WORLD
def test_every_worker_follows_it_and_none_loses_exposures(
    patient: Settings, world: World, other: World, tmp_path: Path
) -> None:
    arms = {
        "control": {"release": world.release},
        "treatment": {"release": other.release},
    }
    declared = Declaration.model_validate({"name": "gunicorn", "arms": arms})
    published = dict.fromkeys((world.release, other.release), world.dataset)
    own = patient.model_copy(update={"exchange_dir": tmp_path})
    with running(tmp_path, own, workers=2, threads=2, budget_ms=10_000) as (
        settings,
        _,
    ):
        url = settings.server.url

        def ask(
            userid: int, **more: Any
        ) -> Any:  # a connection each, so that both workers get some
            response = requests.post(
                f"{url}/ml/rec", json={"userid": userid, **more}, timeout=30
            )
            assert response.ok, response.text
            return response.json()

        opened = lambda: all(ask(1, release=other.release) for _ in range(20))  # noqa: E731 (by both)
        until(opened, every_s=0.1, despite=(AssertionError,))
        with closing(TrialStore(patient.redis)) as store:
            store.update(lambda each: start_experiment(each, declared, published))
        until(
            lambda: all(
                "experiments" in ask(1, timestamp=1_500_000_000) for _ in range(20)
            )
        )  # by every worker
        with closing(TrialStore(patient.redis)) as store:
            (experiment,) = store.call(None).experiments
        for userid in world.userids:
            for _ in range(4):
                assert ask(userid)["experiments"] == {
                    "gunicorn": experiment.arm_of(userid)
                }
    with closing(TrialStore(patient.redis)) as store:
        # written when the workers ended, at the latest
        found = list(store.exposures("gunicorn"))
    assert len(found) == 4 * len(world.userids)


# Experiments and exposures in a real Redis


@pytest.fixture
def store(settings: Settings) -> Iterator[TrialStore]:
    with redis_client(settings) as client:
        client.flushdb()
    with closing(TrialStore(settings.redis)) as store:
        yield store


def exposure(
    userid: int | str,
    number: int,
    experiment: str = "ranker",
    answered: int | None = None,
) -> Exposure:
    answered = time.time_ns() // 1_000_000 if answered is None else answered
    return Exposure(
        experiment=experiment,
        arm="a",
        recommendation=f"{userid} {number}",
        dataset="films",
        userid=userid,
        release=LIVE,
        timestamp=number,
        answered=answered,
        items=(number, number + 1),
    )


class TestTrialStore(TrialStoreContract):
    @pytest.fixture
    def client(self, store: TrialStore) -> TrialStore:
        return store


def test_many_who_change_them_at_once_lose_nothing(store: TrialStore) -> None:
    def run(number: int) -> None:
        def change(before: Trials) -> Trials:
            found = started_one(before, f"x{number}")
            return stop_experiment(found, f"x{number}")

        store.update(change)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(run, range(64)))
    there = store.call(None).experiments
    assert sorted(each.name for each in there) == sorted(
        f"x{number}" for number in range(64)
    )


def test_the_log_keeps_the_newest(
    store: TrialStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(KEPT, EXPOSURES, 300)
    for start in range(0, 2_000, 500):
        store.expose([exposure(1, number) for number in range(start, start + 500)])
    found = [each.timestamp for each in store.exposures("ranker")]
    assert 300 <= len(found) < 600
    assert found == list(range(2_000 - len(found), 2_000))


def test_a_forgotten_user_is_in_no_exposure_even_a_queued_one(
    store: TrialStore, settings: Settings
) -> None:
    early = exposure(7, 1)
    neighbour = next(
        userid
        for userid in range(8, 10_000)
        if wire.event_partition(userid) == wire.event_partition(7)
    )
    store.expose(
        [
            early,
            exposure(neighbour, 1),
            *(exposure(7, number) for number in range(2_500)),
        ]
    )
    with closing(EventLog(settings.redis)) as log:
        log.forget(7, "films")
    store.expose([early])
    assert [each.userid for each in store.exposures("ranker")] == [neighbour]
    store.expose(
        [early.model_copy(update={"answered": early.answered + 60_000})]
    )  # back again
    assert sum(each.userid == 7 for each in store.exposures("ranker")) == 1


def test_exposures_wait_for_a_redis_that_is_killed(
    store: TrialStore, settings: Settings
) -> None:
    """One whose acknowledgement was lost may be there twice."""
    queue, poller = ExposureQueue(store.expose), Poller()
    poller.follow(queue.flush)
    for number in range(300):
        if number == 150:
            psutil.Process(
                Supervisor(settings).processes()["redis"]["pid"]
            ).send_signal(signal.SIGKILL)
        queue.put(exposure(number, number))
        time.sleep(0.002)
    written = lambda: {each.userid for each in store.exposures("ranker")}  # noqa: E731
    until(lambda: written() == set(range(300)), every_s=0.2, despite=(ServiceError,))
    poller.close()
    queue.close()


def test_data_of_another_version_is_reported_and_kept(
    store: TrialStore, client: redis.Redis
) -> None:
    future = b'{"experiments": [{"name": "from the future"}]}'
    client.set(KEY, future)
    with pytest.raises(StoredError, match="cannot be read"):
        store.update(partial(started_one, name="ranker"))
    assert client.get(KEY) == future
