"""The whole server over the real services: right answers, and what a fault of each service gives."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient

from data_exchange_center.dataset import OwnId
from data_exchange_center.settings import Settings
from online.main.s1_server import create_app
from online.recommend.recommend import Recommender
from online.recommend.release import OPENING_WAIT_S
from tests.services.online.faults import paused
from tests.unit.online.world import (
    AT,
    BLANK_USER,
    LATER,
    LONG_HISTORY_USER,
    NO_TERMS_USER,
    NO_VECTOR_USER,
    DefaultWorld,
    World,
)

SERVICES = ["redis", "elasticsearch", "feast", "triton"]
STALL_S = 3.0
# A fault is the same whatever is served: these tests need one world.
ONE_WORLD = pytest.mark.parametrize("world", [DefaultWorld], ids=["DefaultWorld"], indirect=True)


@contextmanager
def server(settings: Settings) -> Iterator[FlaskClient]:
    recommender = Recommender.from_settings(settings)
    try:
        yield create_app(recommender).test_client()
    finally:
        recommender.close()


@pytest.fixture(scope="module")
def http(patient: Settings, world: World) -> Iterator[FlaskClient]:
    with server(patient) as client:
        yield client


def asked(http: FlaskClient, userid: OwnId, size: int = 50, **more: Any) -> dict[str, Any]:
    response = http.post("/ml/rec", json={"userid": userid, "size": size, "timestamp": AT, "strict": True, **more})
    assert response.status_code == 200, response.text
    return dict(response.json)


def check_waited(waited: Sequence[float], at_most_s: float) -> None:
    """No longer than that, but for what a busy machine adds."""
    assert min(waited) <= 1.2 * at_most_s
    assert max(waited) <= at_most_s + STALL_S


@pytest.mark.parametrize("userid", [1, LONG_HISTORY_USER, NO_TERMS_USER, NO_VECTOR_USER, BLANK_USER])
@pytest.mark.parametrize("timestamp", [AT, LATER])
def test_the_answer_is_the_models_order_of_unseen_items(
    http: FlaskClient, world: World, userid: int, timestamp: int
) -> None:
    answer = asked(http, world.own_user(userid), 200, timestamp=timestamp)
    itemids = [world.item_numbers[item["itemid"]] for item in answer["item_list"]]
    scores = [item["score"] for item in answer["item_list"]]
    assert len(itemids) == len(set(itemids)) > 100
    assert not set(itemids) & set(world.seen[userid])
    assert scores == sorted(scores, reverse=True)
    np.testing.assert_allclose(scores, world.expected_scores(userid, itemids, timestamp), atol=1e-5)
    assert [item["title"] for item in answer["item_list"]] == [world.titles[itemid] for itemid in itemids]


@ONE_WORLD
@pytest.mark.parametrize("name", SERVICES)
def test_a_server_that_starts_beside_a_paused_service_says_so_in_time(
    patient: Settings, world: World, name: str
) -> None:
    waited = []
    with server(patient) as http:
        with paused(patient, name):
            for _ in range(2):
                started = time.perf_counter()
                response = http.post("/ml/rec", json={"userid": 1, "strict": True})
                waited.append(time.perf_counter() - started)
                assert response.status_code == 503, response.text
        check_waited(waited, OPENING_WAIT_S + getattr(patient, name).timeout_s)
        assert asked(http, 1)["release"] == world.release
