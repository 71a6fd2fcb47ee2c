from __future__ import annotations

import logging
import time

import pytest

from data_exchange_center.candidates import ItemQuery
from data_exchange_center.settings import ServerSettings, Settings
from extras.warm_up import hook
from online.clients.base import OUT_OF_TIME, ServiceError
from online.main.s1_server import create_app
from tests.unit.online.conftest import Fakes


@pytest.fixture
def warming(fakes: Fakes, monkeypatch: pytest.MonkeyPatch) -> Fakes:
    monkeypatch.setattr(hook, "WARM", 50)
    within(fakes, 10.0)
    return fakes


def within(fakes: Fakes, seconds: float) -> None:
    server = fakes.recommender.server
    fakes.recommender.server = server.model_copy(update={"warm_up_s": seconds})


def warm_up(fakes: Fakes) -> int:
    """Return once a server would accept requests: how many searches it has made."""
    before = fakes.items.answered
    create_app(fakes.recommender, Settings(server=ServerSettings(extras="warm_up")))
    return fakes.items.answered - before


def test_a_cold_index_is_searched_until_it_is_warm(warming: Fakes) -> None:
    assert 50 <= warm_up(warming) < 150
    assert warm_up(warming) == 0


def test_it_ends_with_the_settings_seconds(
    warming: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hook, "WARM", 10**9)
    within(warming, 0.5)
    began = time.monotonic()
    assert warm_up(warming)
    assert time.monotonic() - began < 5
    within(warming, 0)
    assert warm_up(warming) == 0


def test_a_slow_search_does_not_end_it(
    warming: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    call, slow = warming.items._call, iter([True, True])

    def slow_at_first(query: ItemQuery) -> object:
        if next(slow, False):
            raise ServiceError("elasticsearch", OUT_OF_TIME)
        return call(query)

    monkeypatch.setattr(warming.items, "_call", slow_at_first)
    assert warm_up(warming) >= 50


def test_feast_and_triton_are_called_before_the_first_request(warming: Fakes) -> None:
    warm_up(warming)
    users = [query for query in warming.features.calls if query.entity == "user"]
    assert len(users) == len(warming.scorer.calls) == 1
    assert len(users[0].ids) == 1


def test_elasticsearch_is_warmed_up_after_an_unexpected_error(
    warming: Fakes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(hook, "with_popular", lambda *arguments: 1 / 0)
    assert warm_up(warming) >= 50
    assert "could not be warmed up" in caplog.text


@pytest.mark.parametrize("down", ["feast", "triton"])
def test_elasticsearch_is_warmed_up_without_the_others(
    warming: Fakes, down: str
) -> None:
    warming.recommender.releases.follow()
    warming.down(down)
    assert warm_up(warming) >= 50


def test_the_server_serves_although_its_warm_up_failed(
    warming: Fakes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    warming.recommender.releases.follow()
    warming.items.down = True
    warm_up(warming)
    assert warming.recommender.readiness().release == warming.world.release
    assert "left to warm up by requests: elasticsearch:" in caplog.text
