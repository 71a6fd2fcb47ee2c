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


@pytest.mark.parametrize("userid", [1, LONG_HISTORY_USER])
@pytest.mark.parametrize("timestamp", [AT, LATER])
def test_every_channel_finds_what_an_exact_search_finds(
    http: FlaskClient, world: World, userid: int, timestamp: int
) -> None:
    answer = asked(http, world.own_user(userid), timestamp=timestamp, explain=True)
    told = {name: [world.item_numbers[own_id] for own_id in found] for name, found in answer["recall"].items()}
    recall, vectors = world.recipe.recall, world.user_vectors(userid, timestamp)
    assert list(told) == ["fused", *(channel.name for channel in recall.channels)]
    for channel in recall.channels:
        terms, seen = world.user_terms[userid], world.seen[userid]
        exact = world.search(channel, vectors[channel.name], terms, seen, recall.candidates)
        assert told[channel.name] == exact.ids.tolist()
    assert told["fused"] == world.recalled(userid, timestamp).ids.tolist()


@pytest.mark.parametrize("userid", [1, LONG_HISTORY_USER])
def test_shares_add_up_to_the_scores_of_the_index(http: FlaskClient, world: World, userid: int) -> None:
    answer = asked(http, world.own_user(userid), timestamp=AT, explain=True)
    for each in answer["explained"]:
        for name, at in each["channels"].items():
            form = next((channel.form for channel in world.channels.channels if channel.name == name), None)
            assert (at["shares"] is not None) == (form == "history_sum" and at["rank"] is not None)
            if shares := at["shares"]:
                parts = [*shares["profile"].values(), *(event["share"] for event in shares["history"])]
                total = shares["base"] + shares["popularity"] + shares["others"] + sum(parts)
                assert total == pytest.approx(at["score"], abs=1e-5)


@ONE_WORLD
@pytest.mark.parametrize("name", SERVICES)
def test_a_strict_request_beside_a_paused_service_is_503_within_its_timeout_and_the_next_request_after_it_succeeds(
    http: FlaskClient, patient: Settings, world: World, name: str
) -> None:
    before = asked(http, 1)
    waited = []
    with paused(patient, name):
        for _ in range(2):
            started = time.perf_counter()
            response = http.post("/ml/rec", json={"userid": 1, "strict": True})
            waited.append(time.perf_counter() - started)
            assert response.status_code == 503
            assert response.json["error"]["service"] == name
        ready = http.get("/readyz")
        assert (ready.status_code, ready.json["status"]) == (200, "degraded")
        assert ready.json["services"][name]["ready"] is False
    after = asked(http, 1)
    assert after["item_list"] == before["item_list"]
    check_waited(waited, getattr(patient, name).timeout_s)


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
