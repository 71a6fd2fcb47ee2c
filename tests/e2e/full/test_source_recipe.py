"""The source's recipe on the same road: next to the default in the same stack, and back by one command."""

from __future__ import annotations

import dataclasses

import requests

from data_exchange_center import artifacts
from tests.e2e.road import Road, itemids


def test_the_sources_recipe_goes_live_beside_the_default_and_back(road: Road) -> None:
    first = road.recommend(1).json()
    source = dataclasses.replace(road, env={**road.env, "RECSYS_RECIPE": "source"})

    with road.artifacts_kept():
        release = source.release()
    assert len(road.wait_for_release(release)["item_list"]) == 50
    body = {"userid": 1, "size": 200, "explain": True, "strict": True}
    answer = requests.post(f"{road.settings.server.url}/ml/rec", json=body, timeout=30).json()
    assert set(answer["recall"]) == {"fused", "fm"}
    seen = artifacts.USER_SEEN.read(road.settings.exchange_dir).set_index("userid").loc[1, "seen"]
    assert not set(itemids(answer)) & set(seen)
    assert itemids(road.go_back(first["release"])) == itemids(first)
