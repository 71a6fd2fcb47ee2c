"""Right answers of the whole server over the real services."""

from collections.abc import Iterator

import numpy as np
import pytest
from flask.testing import FlaskClient

from data_exchange_center.settings import Settings
from extras.keys import hook
from extras.keys.hook import RATE_PREFIX
from online.main.s1_server import create_app
from online.recommend.recommend import Recommender
from tests.free_ports import change
from tests.own_stack import redis_of
from tests.services.conftest import server_of
from tests.unit.online.world import (
    AT,
    BLANK_USER,
    LATER,
    LONG_HISTORY_USER,
    NO_TERMS_USER,
    NO_VECTOR_USER,
    World,
)


@pytest.fixture(scope="module")
def http(patient: Settings, world: World) -> Iterator[FlaskClient]:
    with server_of(patient) as client:
        yield client


@pytest.mark.parametrize(
    "userid", [1, LONG_HISTORY_USER, NO_TERMS_USER, NO_VECTOR_USER, BLANK_USER]
)
@pytest.mark.parametrize("timestamp", [AT, LATER])
def test_the_answer_is_the_models_order_of_unseen_items(
    http: FlaskClient, world: World, userid: int, timestamp: int
) -> None:
    request = {
        "userid": world.own_user(userid),
        "size": 200,
        "timestamp": timestamp,
        "strict": True,
    }
    response = http.post("/ml/rec", json=request)
    assert response.status_code == 200, response.text
    items = response.json["item_list"]
    itemids = [world.item_numbers[item["itemid"]] for item in items]
    scores = [item["score"] for item in items]
    assert len(itemids) == len(set(itemids)) > 100
    assert not set(itemids) & set(world.seen[userid])
    assert scores == sorted(scores, reverse=True)
    np.testing.assert_allclose(
        scores, world.expected_scores(userid, itemids, timestamp), atol=1e-5
    )
    assert [item["title"] for item in items] == [
        world.titles[itemid] for itemid in itemids
    ]


# A client's requests are counted in Redis.


def server(settings: Settings) -> FlaskClient:
    return create_app(Recommender.from_settings(settings), settings).test_client()


def test_all_workers_count_together(
    stack: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # a busy machine is no reason to count by oneself
    monkeypatch.setattr(hook, "_TIMEOUT_S", 5.0)
    limited = change(stack, "server", rate="3/hour")
    first, second = server(limited), server(limited)
    with redis_of(stack) as client:
        try:
            given = [
                http.post("/ml/rec", data=b"{}").status_code
                for http in (first, second, first, second, first)
            ]
            kept = list(client.scan_iter(f"*{RATE_PREFIX}*"))
        finally:
            for key in client.scan_iter(f"*{RATE_PREFIX}*"):
                client.delete(key)
    assert given == [400, 400, 400, 429, 429]
    assert kept
