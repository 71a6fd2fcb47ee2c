"""Replayed experiments from their start to their report, over a real Redis; the other services are in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from flask.testing import FlaskClient

from data_exchange_center import wire
from data_exchange_center.dataset import OwnId
from data_exchange_center.recipes import DEFAULT, SOURCE
from data_exchange_center.release_parts import DatasetIds, OwnIds
from data_exchange_center.settings import ServerSettings, Settings
from extras.events.log import EventLog
from extras.experiments.report import found_by
from extras.experiments.store import ExperimentStore
from extras.keys import hook as keys
from offline.data.sequences import Sequences
from offline_to_online.stores.base import redis_client
from online.clients.redis import WHICH_IS_LIVE, RedisUsers, UserAnswer, UserQuery
from online.main.s1_server import create_app
from online.recommend.fallback import LastRelease
from online.recommend.recommend import Recommender
from research.measure.experiment_replay import PLANNED, replay
from research.measure.live_events import Replay, ServerLoop
from tests.unit.online.fakes import FakeFeatures, FakeItems, FakeScorer, FakeUsers
from tests.unit.online.world import LAST_EVENT, NO_FEATURES_USER, DefaultWorld

OTHER = "bbbbbbbbbbbb"
LIKED = (3, 50, 120, 200, 400)  # items that everybody likes next


class Users(FakeUsers):
    """Hears of experiments from Redis."""

    redis: RedisUsers

    def _call(self, query: UserQuery) -> UserAnswer:
        self.experiments = self.redis.call(WHICH_IS_LIVE).experiments
        return super()._call(query)


class Loop(ServerLoop):
    """Caller the server in this process, instead of over the network."""

    def __init__(self, settings: Settings, dataset: str, http: FlaskClient) -> None:
        super().__init__(settings, "", dataset)
        self._client = http

    def post(self, path: str, body: object) -> dict[str, Any]:
        response = self._client.post(path, json=body)
        assert response.status_code == 200, response.text
        return response.json or {}


def everybody(world: DefaultWorld) -> Replay:
    n = len(LIKED)
    numbers = np.array(sorted(world.userids))
    data = Sequences(
        userids=numbers,
        itemids=np.array(LIKED),
        starts=np.arange(0, n * len(numbers) + 1, n),
        items=np.tile(np.arange(1, n + 1), len(numbers)),
        ratings=np.full(n * len(numbers), 5),
        liked=np.ones(n * len(numbers), bool),
        times=np.tile(LAST_EVENT + 600 + np.arange(n), len(numbers)),
    )
    users: list[OwnId] = [world.own_user(number) for number in numbers.tolist()]
    own = DatasetIds(
        OwnIds(numbers.tolist(), [str(user) for user in users], "integer"),
        OwnIds(list(LIKED), [str(item) for item in LIKED], "integer"),
    )
    return Replay(data, np.full(len(numbers), n), own, world.published.manifest.dataset)


def test_they_are_run_reported_and_taken_back(settings: Settings, tmp_path: Path) -> None:
    world = DefaultWorld()
    other = DefaultWorld(release=OTHER, model_version=2, seed=7)
    users = Users(world, other, live=world.release)
    users.redis = RedisUsers(settings.redis)
    services = (FakeItems(world, other), FakeFeatures(world, other), FakeScorer(world, other))
    server = ServerSettings(budget_ms=10_000, warm_up_s=0, keys_file=tmp_path / "api_keys")
    key = keys.add(tmp_path / "api_keys", "test")
    with closing(Recommender(users, *services, server, LastRelease(tmp_path / "last.json"))) as recommender:  # type: ignore[arg-type]
        http = create_app(
            recommender, settings.model_copy(update={"server": server}), {"events": EventLog(settings.redis)}
        ).test_client()
        http.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {key}"
        for named in ({}, {"release": OTHER}):  # the live one serves, and the other is open
            assert http.post("/ml/rec", json={"userid": 1, "strict": True, **named}).status_code == 200
        data = everybody(world)
        some = [row for row, number in enumerate(data.data.userids.tolist()) if number != NO_FEATURES_USER]
        with closing(Loop(settings, world.dataset, http)) as loop:

            def each(of: Callable[[Any, int], Any], some: Sequence[int]) -> Iterator[Any]:
                return (of(loop, user) for user in some)

            releases = {SOURCE.name: OTHER, DEFAULT.name: world.release}
            found = replay(settings, data, some, releases, each)
        with redis_client(settings) as client, closing(ExperimentStore(settings.redis)) as store:
            assert store.call(None) == ()
            assert all(not client.hlen(wire.user_events_key(world.dataset, userid)) for userid in world.userids)
            assert all(not client.xlen(wire.exposures_key(n)) for n in range(wire.EVENT_PARTITIONS))
    assert list(found) == list(PLANNED)
    for title, (experiment, outcomes) in found.items():
        assert sorted(map(int, outcomes.userids)) == sorted({*world.userids} - {NO_FEATURES_USER}), title
        assert outcomes.not_as_dealt == 0, title
        assert outcomes.values["hits"].max() > 0, title
        report = found_by(experiment, outcomes)
        assert report["warnings"] == []
        assert {arm["release"] for arm in report["experiment"]["arms"]} == (
            {world.release} if PLANNED[title].is_even else {world.release, OTHER}
        )
