"""Events through the whole server and the real services: the next answer knows them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis
from flask.testing import FlaskClient

from data_exchange_center import wire
from data_exchange_center.history import History
from data_exchange_center.settings import Settings
from extras.keys import hook as keys
from online.main.s1_server import create_app
from online.recommend.recommend import Recommender
from tests.unit.online.world import DefaultWorld, World

USER = 8
SERVICES = ("redis", "elasticsearch", "feast", "triton")

pytestmark = pytest.mark.parametrize("world", [DefaultWorld], ids=["DefaultWorld"], indirect=True)


@pytest.fixture
def http(stack: Settings, world: World, tmp_path: Path) -> Iterator[FlaskClient]:
    """Its key is sent with every request; what was sent of the user is deleted afterwards."""
    path = tmp_path / "api_keys"
    patient = {name: getattr(stack, name).model_copy(update={"timeout_s": 10.0}) for name in SERVICES}
    server = stack.server.model_copy(update={"keys_file": path})
    settings = stack.model_copy(update={**patient, "server": server})
    recommender = Recommender.from_settings(settings)
    client = create_app(recommender, settings).test_client()
    recommender.warm_up().result()
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {keys.add(path, 'test')}"
    try:
        yield client
    finally:
        recommender.close()
        with redis.Redis(port=stack.redis.port) as store:
            partition = wire.event_partition(USER)
            store.delete(wire.user_events_key(world.dataset, USER), wire.event_log_key(world.dataset, partition))


def ask(http: FlaskClient, userid: int, **more: Any) -> Any:
    response = http.post("/ml/rec", json={"userid": userid, "size": 200, "strict": True, **more})
    assert response.status_code == 200, response.text
    return response.json


def items(answer: Any) -> list[int]:
    return [each["itemid"] for each in answer["item_list"]]


def test_the_next_answer_is_that_of_the_new_history(http: FlaskClient, world: World) -> None:
    at = 1_500_000_000  # after all events of the world
    before = ask(http, USER, timestamp=at)
    rated = items(before)[:3]
    events = [
        {"eventid": f"e{n}", "userid": USER, "itemid": item, "type": "rating", "value": 5 - n, "timestamp": at + n}
        for n, item in enumerate(rated)
    ]
    response = http.post("/ml/event", json=[*reversed(events), events[1]])  # out of order, and one twice
    assert [each["new"] for each in response.json["events"]] == [True, True, True, False]  # type: ignore[index]
    after = ask(http, USER, timestamp=at + 100)
    assert not set(rated) & set(items(after))
    old = world.histories[USER]
    world.histories[USER] = History(
        np.concatenate([rated[::-1], old.itemids]),
        np.concatenate([[3, 4, 5], old.ratings]),
        np.concatenate([[at + 2, at + 1, at], old.times]),
    )
    world.seen[USER] = sorted([*world.seen[USER], *rated])
    count = world.user_features[USER]["n_ratings"]
    world.user_features[USER]["n_ratings"] = len(world.histories[USER])
    try:
        told = [each["score"] for each in after["item_list"]]
        np.testing.assert_allclose(told, world.expected_scores(USER, items(after), at + 100), atol=1e-5)
    finally:
        world.histories[USER], world.user_features[USER]["n_ratings"] = old, count
        world.seen[USER] = [item for item in world.seen[USER] if item not in rated]
    assert ask(http, USER, timestamp=at)["item_list"] == before["item_list"], "as of before, nothing has changed"
