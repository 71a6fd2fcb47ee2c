"""Loading releases, and which of them answers."""

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import pytest

from online.clients.base import GoneError, ServiceError
from online.recommend import releases
from online.recommend.loaded_release import Release
from online.recommend.outcomes import (
    LoadingError,
    NoReleaseError,
    Outcome,
    UnknownReleaseError,
)
from online.recommend.types import Request
from tests.unit.online.conftest import SERVICES, Fakes, ask, outcomes
from tests.unit.online.world import AT, UNKNOWN_USER, World
from tests.waiting import until


@pytest.fixture
def second(fakes: Fakes) -> World:
    """A second release of the same kind, in every service, not published."""
    world = another(fakes)
    fakes.add(world)
    return world


def another(fakes: Fakes) -> World:
    return type(fakes.world)(release="bbbbbbbbbbbb", model_version=2, seed=7)


def activate(fakes: Fakes, world: World) -> None:
    """Activate a release, and wait until this process has noticed."""
    fakes.users.history.insert(0, world.release)
    fakes.users.live_release = world.release
    fakes.follow()


def test_a_new_release_takes_over_without_a_restart(
    fakes: Fakes, second: World
) -> None:
    first = ask(fakes)
    fakes.follow()
    assert ask(fakes).item_list == first.item_list  # it is in the stores, not active
    activate(fakes, second)
    answer = ask(fakes)
    assert answer.release == second.release
    scores = [item.score for item in answer.item_list]
    expected = second.expected_scores(1, answer.itemids)
    np.testing.assert_allclose(scores, expected, rtol=1e-5)
    read = len(fakes.users.opened)
    activate(fakes, fakes.world)
    assert ask(fakes).item_list == first.item_list
    assert len(fakes.users.opened) == read  # still loaded
    assert len(fakes.recommender.releases.loaded) == 2
    fakes.users.history = [fakes.world.release]
    fakes.follow()
    assert len(fakes.recommender.releases.loaded) == 1


def test_the_former_release_answers_while_a_new_one_loads(
    fakes: Fakes, second: World
) -> None:
    before = ask(fakes)
    gate = fakes.items.gate = threading.Event()
    with ThreadPoolExecutor(1) as other_thread:
        loading = other_thread.submit(activate, fakes, second)
        until(lambda: second.release in fakes.users.opened)
        known, unknown_user = ask(fakes), ask(fakes, UNKNOWN_USER)
        with pytest.raises(LoadingError, match=second.release):
            ask(fakes, release=second.release)
        gate.set()
        loading.result()
    assert known.item_list == before.item_list
    assert known.release == unknown_user.release == fakes.world.release
    assert outcomes(known) == ()
    assert ask(fakes).release == second.release


def test_a_deleted_release_answers_from_memory_until_the_next_is_loaded(
    fakes: Fakes, second: World
) -> None:
    before = ask(fakes)
    del fakes.users.worlds[fakes.world.release]
    known = ask(fakes)
    assert known.item_list == before.item_list
    assert outcomes(known) == (Outcome.LAST_STATE,)
    assert outcomes(ask(fakes, 8)) == (Outcome.POPULAR,)
    with pytest.raises(ServiceError, match="redis: lacks the data of release"):
        ask(fakes, strict=True)
    activate(fakes, second)
    assert ask(fakes, strict=True).release == second.release


def test_redis_that_has_lost_everything_does_not_end_the_answers(fakes: Fakes) -> None:
    ask(fakes)
    none_active(fakes)
    fakes.users.worlds.clear()
    fakes.follow()
    assert outcomes(ask(fakes)) == (Outcome.LAST_STATE,)


def none_active(fakes: Fakes) -> None:
    fakes.users.live_release = None
    fakes.users.history.clear()


def test_a_published_release_answers_by_name_and_no_other_one(
    fakes: Fakes, second: World
) -> None:
    def preferred() -> str:
        request = Request(userid=1, timestamp=AT)
        return fakes.recommender.recommend(request, preferred=second.release).release

    assert preferred() == fakes.world.release  # the other one is not loaded
    with pytest.raises(UnknownReleaseError):
        ask(fakes, release=second.release)
    fakes.publish(second)
    assert ask(fakes, release=second.release).release == second.release
    assert ask(fakes).release == fakes.world.release
    assert preferred() == second.release
    fakes.down("redis")
    with pytest.raises(ServiceError):
        ask(fakes, release=second.release)


def test_no_answer_is_of_two_releases_while_they_take_turns(
    fakes: Fakes, second: World
) -> None:
    alone = {}
    for world in (second, fakes.world):
        activate(fakes, world)
        alone[world.release] = ask(fakes).item_list
    assert alone[second.release] != alone[fakes.world.release]
    requested = []
    with ThreadPoolExecutor(8) as pool:
        for turn in range(200):
            requested.append(pool.submit(ask, fakes))
            if turn % 10 == 0:
                activate(fakes, (second, fakes.world)[turn // 10 % 2])
                ask(fakes)
    for each in requested:
        answer = each.result()
        assert (outcomes(answer), answer.item_list) == ((), alone[answer.release])


@pytest.mark.parametrize("name", ["redis", "elasticsearch", "feast"])
def test_a_server_that_starts_before_its_services_answers_503_until_then(
    fakes: Fakes, name: str
) -> None:
    fakes.down(name)
    with fakes.restarted() as server:
        for _ in range(2):
            with suppress(ServiceError):
                server.releases.follow()
            with pytest.raises(LoadingError, match=name):
                server.recommend(Request(userid=1))
            assert server.readiness().status == "unready"
        fakes.down()
        server.releases.follow()
        assert len(server.recommend(Request(userid=1)).item_list) == 50


def test_a_server_that_cannot_load_a_release_says_why(fakes: Fakes) -> None:
    request = Request(userid=1)
    with fakes.restarted() as server:
        with pytest.raises(LoadingError):  # it has not looked yet
            server.recommend(request)
        fakes.users.live_release = "cccccccccccc"
        server.releases.follow()
        with pytest.raises(LoadingError, match=r"cccccccccccc .*s1_go_live\.py again"):
            server.recommend(request)
        none_active(fakes)
        server.releases.follow()
        with pytest.raises(NoReleaseError) as raised:
            server.recommend(request)
        assert not isinstance(raised.value, LoadingError)


def test_a_damaged_release_does_not_end_the_one_before(
    fakes: Fakes, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = ask(fakes), another(fakes)
    del second.titles[second.itemids[0]]
    fakes.add(second)
    activate(fakes, second)
    assert "cannot be loaded" in caplog.text
    assert ask(fakes).item_list == first.item_list
    with pytest.raises(LoadingError, match="KeyError"):
        ask(fakes, release=second.release)


def test_a_release_that_fails_is_tried_again_later(
    fakes: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = another(fakes)  # not in the stores
    for _ in range(50):
        activate(fakes, second)
        assert ask(fakes).release == fakes.world.release
    assert fakes.users.opened.count(second.release) == 1
    fakes.add(second)
    monkeypatch.setattr(releases, "RETRY_AFTER_S", 0.0)
    fakes.follow()
    assert ask(fakes).release == second.release


def test_a_failing_release_does_not_keep_another_from_loading(
    fakes: Fakes, second: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = fakes.recommender.releases._load_release

    def load_once(release: str) -> Release:
        if release == fakes.world.release:
            raise ServiceError("elasticsearch", "did not answer in time")
        return load(release)

    with fakes.restarted() as server:
        monkeypatch.setattr(server.releases, "_load_release", load_once)
        fakes.users.history.append(second.release)
        server.releases.follow()
        assert second.release in server.releases.loaded


def test_a_new_version_of_the_model_is_loaded_again(fakes: Fakes) -> None:
    first = ask(fakes)
    newer = type(fakes.world)(model_version=9)
    for service in (fakes.users, fakes.scorer):
        service.worlds[newer.release] = newer
    assert outcomes(ask(fakes)) == (Outcome.NOT_RANKED,)
    fakes.follow()
    assert ask(fakes).item_list == first.item_list
    assert fakes.scorer.calls[-1].version == 9


def test_a_missing_model_is_not_loaded_with_every_request(
    fakes: Fakes, caplog: pytest.LogCaptureFixture
) -> None:
    fakes.scorer.worlds.clear()
    with pytest.raises(GoneError):
        ask(fakes, strict=True)
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            assert outcomes(ask(fakes)) == (Outcome.NOT_RANKED,)
            fakes.follow()
    # at first, and once again
    assert fakes.users.opened.count(fakes.world.release) == 2


@pytest.mark.parametrize("name", SERVICES)
def test_losing_one_service_ends_no_loaded_release(fakes: Fakes, name: str) -> None:
    fakes.down(name)
    fakes.follow()
    assert ask(fakes, UNKNOWN_USER).item_list
