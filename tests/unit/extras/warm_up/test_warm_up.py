from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import pytest

from data_exchange_center.candidates import ItemQuery
from data_exchange_center.settings import ServerSettings, Settings
from extras.warm_up import hook
from online.clients.base import OUT_OF_TIME, ServiceError
from online.main.s1_server import create_app
from tests.unit.online.conftest import Fakes
from tests.waiting import until


def warm(
    fakes: Fakes,
    enough: int = 50,
    more: Callable[[float], bool] = lambda took_s: True,
    *,
    patient: bool = True,
) -> None:
    opened = fakes.recommender.releases.get()
    hook.search(fakes.recommender, opened, enough, more, patient=patient)


def test_a_cold_index_is_searched_until_it_is_warm(
    fakes: Fakes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    warm(fakes)
    assert 50 <= fakes.items.answered < 150
    assert "has answered 50 searches" in caplog.text
    before = fakes.items.answered
    warm(fakes)
    assert fakes.items.answered == before


def test_it_ends_when_there_is_to_be_no_other_search(fakes: Fakes) -> None:
    another = iter([True, True, False])
    warm(fakes, 10**9, lambda took_s: next(another))
    searched = fakes.items.answered
    warm(fakes, 10**9, lambda took_s: False)
    assert 0 < fakes.items.answered - searched < searched < 50


@pytest.mark.parametrize("patient", [True, False])
def test_a_slow_search_ends_the_quiet_one_only(
    fakes: Fakes, monkeypatch: pytest.MonkeyPatch, *, patient: bool
) -> None:
    call, slow = fakes.items._call, iter([True, True])

    def slow_at_first(query: ItemQuery) -> object:
        if next(slow, False):
            raise ServiceError("elasticsearch", OUT_OF_TIME)
        return call(query)

    monkeypatch.setattr(fakes.items, "_call", slow_at_first)
    warm(fakes, patient=patient)
    assert (fakes.items.answered >= 50) is patient


@pytest.fixture
def warming(fakes: Fakes, monkeypatch: pytest.MonkeyPatch) -> Fakes:
    monkeypatch.setattr(hook, "WARM", 50)
    fakes.recommender.server = fakes.recommender.server.model_copy(
        update={"warm_up_s": 10.0}
    )
    return fakes


def warmed_up(fakes: Fakes) -> None:
    """Return once a server would accept requests."""
    create_app(fakes.recommender, Settings(server=ServerSettings(extras="warm_up")))


def test_a_server_warms_up_within_its_time_and_quietly_after(
    warming: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hook, "HOT", 200)
    monkeypatch.setattr(hook, "IDLE", 0.0)
    warmed_up(warming)
    assert warming.items.answered >= 50
    until(lambda: 200 <= warming.items.answered < 300)


def test_feast_and_triton_are_called_before_the_first_request(warming: Fakes) -> None:
    warmed_up(warming)
    users = [query for query in warming.features.calls if query.entity == "user"]
    assert len(users) == len(warming.scorer.calls) == 1
    assert len(users[0].ids) == 1


def test_elasticsearch_is_warmed_up_after_an_unexpected_error(
    warming: Fakes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(hook, "with_popular", lambda *arguments: 1 / 0)
    warmed_up(warming)
    assert warming.items.answered >= 50
    assert "could not be warmed up" in caplog.text


@pytest.mark.parametrize("down", ["feast", "triton"])
def test_elasticsearch_is_warmed_up_without_the_others(
    warming: Fakes, down: str
) -> None:
    warming.recommender.releases.follow()
    warming.down(down)
    warmed_up(warming)
    assert warming.items.answered >= 50


def test_the_quiet_warm_up_ends_with_the_server(
    warming: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hook, "HOT", 10**9)
    warmed_up(warming)
    (quiet,) = (thread for thread in threading.enumerate() if thread.name == "warm-up")
    warming.recommender.closed.set()
    quiet.join(60)
    assert not quiet.is_alive()


def test_the_server_serves_although_its_warm_up_failed(
    warming: Fakes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    warming.recommender.releases.follow()
    warming.items.down = True
    warmed_up(warming)
    assert warming.recommender.readiness().release == warming.world.release
    assert "left to warm up by requests: elasticsearch:" in caplog.text
