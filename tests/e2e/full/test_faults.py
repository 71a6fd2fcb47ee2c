"""A service goes away and comes back, by commands that a person has; every service and fault: ``tests/services``."""

from __future__ import annotations

import requests

from tests.e2e.road import Road, itemids


def test_without_a_service_answers_and_steps_say_so_and_afterwards_all_is_whole_again(road: Road) -> None:
    before = itemids(road.recommend(1).json())
    road.stack("down", "elasticsearch")
    try:
        response = road.recommend(1, strict=False)
        assert response.status_code == 200, response.text
        assert len(response.json()["item_list"]) == 50
        assert "elasticsearch" in [lacking["service"] for lacking in response.json()["degraded"]]
        response = road.recommend(1)
        assert (response.status_code, response.json()["error"]["service"]) == (503, "elasticsearch")
        assert requests.get(f"{road.settings.server.url}/healthz", timeout=30).status_code == 200
        ready = requests.get(f"{road.settings.server.url}/readyz", timeout=30)
        assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
        assert ready.json()["services"]["elasticsearch"]["ready"] is False
        done = road.step("offline_to_online/recall/s2_item_to_es.py")
        assert done.returncode != 0
        assert "Traceback" not in done.stdout
        assert "make up" in done.stdout
    finally:
        road.stack("up", "elasticsearch")
    response = road.recommend(1)
    assert response.status_code == 200, response.text
    assert itemids(response.json()) == before
    # a release whose loading has begun is to be loaded and checked again, before it can go live another time
    done = road.run("make", "sync", seconds=900)
    assert done.returncode == 0, done.stdout
