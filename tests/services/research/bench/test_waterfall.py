"""The benchmarks' parts over the real services and the server under gunicorn, with a small world."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from data_exchange_center.settings import Settings
from online.recommend.types import STAGES
from research.bench.asking import Drawn, ready
from research.bench.bare import bare, costs_ms, medians
from research.bench.generator import Target, generator
from research.bench.processes import PARTS, parts_of
from research.bench.waterfall import level_of, one_level, server_costs, with_waiting
from tests.services.online.gunicorn_server import running
from tests.unit.online.world import DefaultWorld, World

USERS = [1, 2, 3]
ONE_WORLD = pytest.mark.parametrize("world", [DefaultWorld], ids=["DefaultWorld"], indirect=True)


@pytest.fixture
def served(stack: Settings, world: World, tmp_path: Path) -> Iterator[Settings]:
    with running(tmp_path, stack, workers=2, threads=4) as (settings, _):
        assert ready(settings.server.url)["release"] == world.release
        yield settings


@ONE_WORLD
def test_a_request_is_divided_into_its_stages(served: Settings) -> None:
    parts = parts_of(served)
    assert list(parts) == list(PARTS)
    assert len(parts["server"].processes) == 3  # gunicorn's master and two workers
    with generator() as ask:
        turns = [one_level(ask, Target(served.server.url), parts, Drawn(USERS, 0), (n, 20)) for n in (1, 4)]
    alone, loaded = with_waiting([level_of(n, [turn]) for n, turn in zip((1, 4), turns, strict=True)])
    assert set(alone["wall_ms"]) == {*STAGES, "total", "own", "http"}
    assert set(alone["waiting_ms"].values()) == {0.0}
    assert alone["processor_ms"]["server"] > 0
    assert 0 < loaded["own_share_of_processor"] < 1


@ONE_WORLD
def test_the_same_calls_are_made_without_the_server(stack: Settings, world: World) -> None:
    with bare(stack) as asks:
        asks.open(USERS[0])
        asked = asks.recommend(USERS)
        for each in asked:
            assert set(each.calls) == set(STAGES)
            assert each.wall_s > each.calls["triton"].wall_s > 0
        chain = medians([asks.chain_ms(each) for each in asked])
        slower = max(chain["elasticsearch"], chain["feast"])
        assert chain["chain"] >= max(chain["redis"], slower, chain["triton"])
        costs = costs_ms(asks, USERS)
    assert set(costs) == {*STAGES, "own"}
    assert costs["elasticsearch"] > 0
    assert set(server_costs(costs, 20.0)) == {*costs, "http"}
