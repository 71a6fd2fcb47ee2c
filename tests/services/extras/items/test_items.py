"""New items over the real services: two workers, the index, another release, and faults of each service."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from data_exchange_center import wire
from data_exchange_center.settings import Settings
from extras.keys import store as keys
from online.main.s1_server import create_app
from online.recommend.recommend import Recommender
from tests.own_stack import redis_of
from tests.services.conftest import ONE_WORLD
from tests.unit.extras.asking import ask, ids
from tests.unit.online.fakes import open_breaker
from tests.unit.online.world import SourceWorld, World
from tests.waiting import until

pytestmark = ONE_WORLD
NEW = 5_000


@pytest.fixture
def workers(
    patient: Settings, world: World, tmp_path: Path
) -> Iterator[tuple[FlaskClient, FlaskClient]]:
    """Two servers over the same services, each with a key; nothing is new when they start."""
    path = tmp_path / "api_keys"
    server = patient.server.model_copy(update={"keys_file": path})
    settings = patient.model_copy(update={"server": server})
    key = keys.add(path, "shop")
    items = f"ml:items:{world.dataset}"
    with redis_of(patient) as client, ExitStack() as ends:
        client.delete(items)
        yield started(settings, key, ends), started(settings, key, ends)
        client.delete(items)


def started(settings: Settings, key: str, ends: ExitStack) -> FlaskClient:
    recommender = ends.enter_context(closing(Recommender.from_settings(settings)))
    http = create_app(recommender, settings).test_client()
    recommender.follow(recommender.releases.follow)
    until(lambda: recommender.releases.active is not None)
    http.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {key}"
    return http


def post(http: FlaskClient, path: str, body: Any, status: int = 200) -> None:
    response = http.post(path, json=body)
    assert response.status_code == status, response.text


def new_items(count: int) -> list[dict[str, Any]]:
    about = {"title": "New", "attributes": {"genres": ["Comedy"]}}
    return [{"itemid": NEW + n} | about for n in range(count)]


def test_every_worker_serves_a_new_item_soon(
    workers: tuple[FlaskClient, FlaskClient], world: World
) -> None:
    first, second = workers
    ask(second)
    usual = {"size": 200, "strict": True, "explain": "recall"}
    before = ask(first, **usual)
    for item in new_items(40):
        post(first, "/ml/item", item)
    new = {NEW + n for n in range(40)}
    query = {"only": [*new, *world.trained[:99]], "size": 200, "explain": "recall"}
    found: dict[str, Any] = {}

    def alike() -> bool:
        """Both have all of them."""
        found.update(ask(first, strict=True, **query))
        both = ask(second, strict=True, **query)["recall"] == found["recall"]
        return both and new <= set(found["recall"]["tower"])

    until(alike)
    # as the exact search among all says
    recommender = first.application.extensions["recsys"].recommender
    breaker = recommender.items.breaker
    open_breaker(breaker)
    exact = ask(first, **query, budget_ms=10_000)
    breaker._failures = 0
    assert exact["recall"] == found["recall"]
    for itemid in new:
        assert first.delete(f"/ml/item/{itemid}").status_code == 200
    until(lambda: ask(second, **usual)["recall"] == before["recall"])


def test_lists_and_increments_reach_every_worker(
    workers: tuple[FlaskClient, FlaskClient], world: World
) -> None:
    first, second = workers

    def found(worker: FlaskClient) -> set[Any]:
        return set(ids(ask(worker, only=[NEW + n for n in range(200)], size=200)))

    items = new_items(200)
    post(first, "/ml/items", items)
    until(lambda: len(found(second)) == 200)
    # the second worker reads the two that have changed since
    changed = first.patch(f"/ml/item/{NEW}", json={"title": "Another"})
    assert changed.json["title"] == "Another"
    assert second.delete(f"/ml/item/{NEW + 1}").status_code == 200
    until(lambda: len(found(first)) == len(found(second)) == 199)
    post(first, "/ml/items", items[1:3], 409)
    left = [{"itemid": NEW + n} for n in range(200) if n != 1]
    post(second, "/ml/items/remove", left)
    until(lambda: not found(first) | found(second))


def test_it_stays_through_a_release(
    workers: tuple[FlaskClient, FlaskClient],
    world: World,
    worlds: Mapping[type[World], World],
    stack: Settings,
) -> None:
    first, second = workers
    post(first, "/ml/item", new_items(1)[0])
    later = worlds[SourceWorld]
    with redis_of(stack) as client:
        client.set(wire.LIVE_KEY, later.release)
        for worker in (first, second):
            until(lambda worker=worker: ask(worker)["release"] == later.release)  # type: ignore[misc]
            until(lambda worker=worker: ids(ask(worker, only=[NEW])) == [NEW])  # type: ignore[misc]
