"""A service goes away and comes back."""

from __future__ import annotations

import pytest
import requests

from tests.e2e.road import Road, itemids


@pytest.mark.parametrize("service", ["redis", "elasticsearch", "feast", "triton"])
def test_without_a_service_the_answer_says_so_and_after_it_has_returned_it_is_whole_again(
    road: Road, service: str
) -> None:
    before = itemids(road.recommend(1).json())
    road.stack("down", service)
    try:
        response = road.recommend(1, strict=False)
        assert response.status_code == 200, response.text
        assert len(response.json()["item_list"]) == 50
        assert service in [lacking["service"] for lacking in response.json()["degraded"]]
        response = road.recommend(1)
        assert response.status_code == 503
        assert response.json()["error"]["service"] == service
        assert requests.get(f"{road.settings.server.url}/healthz", timeout=5).status_code == 200
        ready = requests.get(f"{road.settings.server.url}/readyz", timeout=10)
        assert ready.status_code == 200
        assert ready.json()["status"] == "degraded"
        assert ready.json()["services"][service]["ready"] is False
    finally:
        road.stack("up", service)
    response = road.recommend(1)
    assert response.status_code == 200, response.text
    assert itemids(response.json()) == before


def test_a_step_without_its_service_says_so_in_one_sentence(road: Road) -> None:
    road.stack("down", "elasticsearch")
    try:
        done = road.step("offline_to_online/recall/s2_item_to_es.py")
    finally:
        road.stack("up", "elasticsearch")
    assert done.returncode != 0
    assert "Traceback" not in done.stdout
    assert "make up" in done.stdout
