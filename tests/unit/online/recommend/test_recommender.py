from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_exchange_center.candidates import ItemQuery
from data_exchange_center.fusion import Hits
from online.clients.base import NEVER, Deadline, ServiceError
from online.clients.feast import FeatureQuery
from online.recommend import registry
from online.recommend.last_release import LastRelease
from online.recommend.loaded_release import Release
from online.recommend.outcomes import LoadingError, NoReleaseError, Outcome, UnknownReleaseError
from online.recommend.types import MAX_SIZE, Answer, Request
from tests.unit.online.conftest import SERVICES, Fakes, outcomes
from tests.unit.online.world import (
    AT,
    LAST_EVENT,
    LATER,
    LONG_HISTORY_USER,
    NO_FEATURES_USER,
    NO_TERMS_USER,
    NO_VECTOR_ITEM,
    NO_VECTOR_USER,
    UNKNOWN_USER,
    DefaultWorld,
    World,
)
from tests.waiting import until


def ask(fakes: Fakes, userid: int, size: int = 50, **more: Any) -> Answer:
    return fakes.recommender.recommend(Request(**{"userid": userid, "size": size, "timestamp": AT, **more}))


def another(fakes: Fakes) -> World:
    """A second release of the same kind, which no service has yet."""
    return type(fakes.world)(release="bbbbbbbbbbbb", model_version=2, seed=7)


def loaded(fakes: Fakes) -> World:
    """The second release, in every service; not live."""
    second = another(fakes)
    fakes.add(second)
    return second


def until_from(fakes: Fakes, release: str) -> Answer:
    until(lambda: ask(fakes, 1).release == release)
    return ask(fakes, 1)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    userid=st.sampled_from([1, LONG_HISTORY_USER, NO_TERMS_USER, NO_VECTOR_USER, 8]),
    size=st.integers(1, MAX_SIZE),
    timestamp=st.sampled_from([AT, LATER]),
)
def test_the_answer_is_the_models_order_of_unseen_items(fakes: Fakes, userid: int, size: int, timestamp: int) -> None:
    answer = ask(fakes, userid, size, timestamp=timestamp)
    itemids = answer.itemids
    scores = [item.score for item in answer.item_list]
    assert not set(itemids) & set(fakes.world.seen[userid])
    assert len(itemids) == len(set(itemids))
    assert size - 2 <= len(itemids) <= size or userid == LONG_HISTORY_USER
    assert scores == sorted(scores, reverse=True)
    np.testing.assert_allclose(scores, fakes.world.expected_scores(userid, itemids, timestamp), rtol=1e-5)
    for item in answer.item_list:
        shown = fakes.world.shown(int(item.itemid))
        reported = item.model_dump(exclude={"score"})
        assert reported == {"itemid": shown.own_id, "title": shown.title, **shown.attributes}


def test_recall_is_explained_on_request(fakes: Fakes) -> None:
    world = fakes.world
    reported = ask(fakes, 1, 5, explain="recall").recall
    assert list(reported) == ["fused", *(channel.name for channel in world.recipe.recall.channels)]
    assert reported["fused"] == world.recalled(1).ids.tolist()
    for channel in world.recipe.recall.channels:
        vector = world.user_vectors(1)[channel.name]
        expected = world.search(channel, vector, world.user_terms[1], world.seen[1], world.recipe.recall.candidates)
        assert reported[channel.name] == expected.ids.tolist()
    assert ask(fakes, 1, 5).recall == {}
    assert ask(fakes, UNKNOWN_USER, 5, explain="recall").recall == {"fused": []}


def test_ties_go_by_itemid(fakes: Fakes) -> None:
    fakes.world.weights[:] = 0  # the world's own array: every score is a half
    itemids = ask(fakes, 1).itemids
    assert itemids == sorted(itemids)


def test_one_call_per_service_and_request(fakes: Fakes) -> None:
    ask(fakes, 1)
    for service in fakes.services:
        service.calls.clear()
    ask(fakes, 1)
    assert [len(service.calls) for service in fakes.services] == [1, 1, 1, 1]
    assert fakes.features.calls == [FeatureQuery("user", fakes.world.release, (1,))]


def test_items_that_no_channel_finds_complete_a_short_list(fakes: Fakes) -> None:
    world = fakes.world
    ask(fakes, 1)
    left = [NO_VECTOR_ITEM, *world.itemids[-3:-1]]
    world.seen[NO_TERMS_USER] = [itemid for itemid in world.itemids if itemid not in left]
    for name in world.item_vectors:
        world.item_vectors[name].clear()
    answer = ask(fakes, NO_TERMS_USER, 200, explain="recall")
    assert (outcomes(answer), answer.filled_up, answer.short) == ((), 3, "no_more_items")
    assert set(answer.itemids) == set(left)
    assert answer.recall["fused"] == [i for i, _ in world.popular if i in left]
    assert all(answer.recall[channel.name] == [] for channel in world.recipe.recall.channels)
    scores = fakes.scorer.calls[-1].inputs.rows[:, len(world.spec.features) :]
    assert scores[:, :-1].tolist() == np.zeros((3, max(len(world.spec.candidate) - 1, 0))).tolist()
    complete = ask(fakes, NO_TERMS_USER, 3)
    assert (len(complete.item_list), complete.filled_up, complete.short) == (3, 3, "")


def test_a_list_that_the_channels_fill_only_in_part_is_completed(fakes: Fakes) -> None:
    world = fakes.world
    ask(fakes, 1)
    found = world.trained[10:20]
    world.seen[NO_TERMS_USER] = []
    for name, vectors in world.item_vectors.items():
        world.item_vectors[name] = {itemid: vectors[itemid] for itemid in found}
    answer = ask(fakes, NO_TERMS_USER, 50, explain="recall")
    assert (outcomes(answer), len(answer.item_list), answer.short) == ((), 50, "")
    assert set(answer.recall["fused"][:10]) == set(found)
    assert answer.filled_up == len(set(answer.itemids) - set(found)) >= 40
    assert [item.score for item in answer.item_list] == sorted((i.score for i in answer.item_list), reverse=True)
    assert not ask(fakes, NO_TERMS_USER, 10).filled_up


def test_all_items_seen_is_an_empty_list_of_full_quality(fakes: Fakes) -> None:
    fakes.world.seen[1] = list(fakes.world.itemids)
    answer = ask(fakes, 1)
    assert (answer.item_list, outcomes(answer), answer.short) == ([], (), "no_more_items")
    assert answer.reason
    assert ask(fakes, 1, strict=True).item_list == []


def test_a_vector_of_another_width_is_an_error(fakes: Fakes) -> None:
    ask(fakes, 1)
    name = fakes.world.recipe.recall.channels[0].name
    fakes.world.stored_vectors[1][name] = np.zeros(77, np.float32)
    with pytest.raises(ServiceError, match=f"77 numbers for {name}"):
        ask(fakes, 1, strict=True)
    assert_popular_unseen(fakes)


@pytest.mark.parametrize("kind", [DefaultWorld])
def test_unknown_profile_codes_are_an_error(fakes: Fakes, monkeypatch: pytest.MonkeyPatch) -> None:
    ask(fakes, 1)
    monkeypatch.setattr(DefaultWorld, "profile", lambda _, userid: np.array([1000, 1000, 1000], np.int32))
    with pytest.raises(ServiceError, match="redis: holds data of this user"):
        ask(fakes, 1, strict=True)
    assert_popular_unseen(fakes)


def assert_popular_unseen(fakes: Fakes) -> None:
    """Recall for a user whose seen items are all that is usable of the state; ranked."""
    answer = ask(fakes, 1, MAX_SIZE)
    (found,) = answer.degraded
    assert (found.outcome, found.service) == (Outcome.NO_RECALL, "redis")
    unseen = [itemid for itemid, _ in fakes.world.popular if itemid not in fakes.world.seen[1]]
    assert len(answer.item_list) == MAX_SIZE
    assert set(answer.itemids) <= set(unseen[: fakes.world.recipe.recall.candidates])
    assert answer.filled_up == MAX_SIZE


def test_a_user_without_features_is_served_in_recalls_order(fakes: Fakes, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        answer = ask(fakes, NO_FEATURES_USER)
    assert outcomes(answer) == (Outcome.NO_USER_FEATURES,)
    assert len(answer.item_list) == 50
    assert fakes.scorer.calls == []
    assert "no user features" in caplog.text


def test_items_without_features_are_left_out_and_logged(fakes: Fakes, caplog: pytest.LogCaptureFixture) -> None:
    strange = fakes.world.no_features_item
    channel = fakes.world.recipe.recall.channels[0].name
    fakes.world.item_vectors[channel][strange] = fakes.world.user_vectors(1)[channel] * 100  # recalled before others
    fakes.world.seen[1] = []
    with caplog.at_level(logging.WARNING):
        answer = ask(fakes, 1, MAX_SIZE)
    assert outcomes(answer) == (Outcome.NO_ITEM_FEATURES,)
    assert strange not in set(answer.itemids)
    assert len(answer.item_list) == min(MAX_SIZE, fakes.world.recipe.recall.candidates - 1)
    assert str(strange) in caplog.text


@pytest.mark.parametrize("triton_is_down", [False, True])
def test_items_missing_in_the_catalogue_are_logged(
    fakes: Fakes, triton_is_down: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ask(fakes, 1)
    strange, found = 10**6, fakes.items.call

    def first(query: ItemQuery, deadline: Deadline = NEVER) -> tuple[Hits, ...]:
        return tuple(Hits(np.r_[strange, h.ids], np.r_[1e3, h.scores]) for h in found(query, deadline))

    monkeypatch.setattr(fakes.items, "call", first)
    fakes.scorer.down = triton_is_down
    answer = ask(fakes, 1, MAX_SIZE, explain="recall")
    assert outcomes(answer) == ((Outcome.NOT_RANKED,) if triton_is_down else ())
    assert all(strange not in itemids for itemids in answer.recall.values())
    assert len(answer.item_list) == min(MAX_SIZE, len(answer.recall["fused"])) >= MAX_SIZE - 1
    assert str(strange) in caplog.text


@pytest.mark.parametrize("name", SERVICES)
def test_a_server_may_start_before_its_services(fakes: Fakes, name: str) -> None:
    fakes.service(name).down = True
    with pytest.raises(ServiceError):
        ask(fakes, 1, strict=True)
    fakes.service(name).down = False
    assert len(ask(fakes, 1).item_list) == 50


def test_a_release_loading_again_blames_the_failed_service(fakes: Fakes, tmp_path: Path) -> None:
    last = LastRelease(tmp_path / "saved.json")
    last.keep(fakes.recommender.releases.get_active())
    fakes.down("feast")
    with fakes.restarted(tmp_path / "saved.json") as fresh:
        with pytest.raises(ServiceError, match="feast"):
            fresh.releases.get_active()
        gate = fakes.items.gate = threading.Event()  # the next try takes longer than the request waits
        try:
            answer = fresh.recommend(Request(userid=1, budget_ms=200))
        finally:
            gate.set()
    assert [(each.service, each.instead) for each in answer.degraded] == [("feast", "popular")]


def test_a_dangling_pointer_is_an_error(fakes: Fakes) -> None:
    fakes.users.live_release = "cccccccccccc"
    with pytest.raises(NoReleaseError, match=r"cccccccccccc .*s1_go_live\.py again"):
        ask(fakes, 1)


def test_a_new_release_takes_over_without_a_restart(fakes: Fakes) -> None:
    first = ask(fakes, 1)
    second = loaded(fakes)
    assert ask(fakes, 1).item_list == first.item_list  # loaded is not live
    fakes.users.live_release = second.release
    answer = until_from(fakes, second.release)
    expected = second.expected_scores(1, answer.itemids)
    np.testing.assert_allclose([item.score for item in answer.item_list], expected, rtol=1e-5)
    fakes.users.live_release = fakes.world.release
    read = len(fakes.users.opened)
    assert ask(fakes, 1).item_list == first.item_list
    assert len(fakes.users.opened) == read  # still open: going back takes no time


def test_no_answer_is_of_two_releases_while_they_take_turns(fakes: Fakes) -> None:
    releases, alone = (loaded(fakes).release, fakes.world.release), {}
    for release in releases:
        fakes.users.live_release = release
        alone[release] = until_from(fakes, release).item_list
    assert alone[releases[0]] != alone[releases[1]]
    requested = []
    with ThreadPoolExecutor(8) as pool:
        for turn in range(200):
            fakes.users.live_release = releases[turn % 2]
            requested.append(pool.submit(ask, fakes, 1))
            if turn % 20 < 2:
                requested[-1].result()  # so that each is called while it is live
    answers = [each.result() for each in requested]
    assert {answer.release for answer in answers} == set(releases)
    assert all((outcomes(answer), answer.item_list) == ((), alone[answer.release]) for answer in answers)


@pytest.mark.parametrize("preferred", [None, "bbbbbbbbbbbb"])
def test_a_release_is_waited_for_as_long_as_the_caller_says(fakes: Fakes, preferred: str | None) -> None:
    """Redis holds neither the one that answers nor the one that is preferred any longer."""
    loaded_here, second, third = fakes.recommender.releases, loaded(fakes), replace(fakes.world, release="cccccccccccc")
    ask(fakes, 1)
    loaded_here.get(second.release)
    fakes.add(third)
    fakes.users.live_release = third.release
    del fakes.users.worlds[fakes.world.release], fakes.users.worlds[second.release]
    gate = fakes.items.gate = threading.Event()
    with pytest.raises(LoadingError):
        loaded_here.find(1, fakes.users, preferred=preferred)
    with pytest.raises(LoadingError):
        loaded_here.wait_for(third.release, 0.01)
    gate.set()
    loaded_here.wait_for(third.release)
    assert loaded_here.find(1, fakes.users, preferred=preferred)[0].release == third.release


def test_a_named_release_is_looked_up_within_the_limits(fakes: Fakes) -> None:
    """The look-up of a release that is not loaded goes through the request's breaker, and by its deadline."""
    ask(fakes, 1)
    second = loaded(fakes)
    redis, calls = fakes.recommender.breakers["redis"], len(fakes.users.calls)
    redis.force_open("is not called")
    with pytest.raises(ServiceError, match="is not called"):
        ask(fakes, 1, release=second.release)
    assert len(fakes.users.calls) == calls
    redis.force_open(None)
    assert ask(fakes, 1, release=second.release).release == second.release
    with pytest.raises(UnknownReleaseError):
        ask(fakes, 1, release="ffffffffffff")


def test_a_published_release_answers_by_name_before_it_is_active(fakes: Fakes) -> None:
    ask(fakes, 1)
    second, releases = loaded(fakes), fakes.recommender.releases
    fakes.users.history.insert(0, second.release)
    assert releases.follow()
    until(lambda: releases.loaded_count == 2)
    assert ask(fakes, 1, release=second.release).release == second.release
    assert ask(fakes, 1).release == fakes.world.release


def test_published_releases_are_loaded_before_any_request(fakes: Fakes) -> None:
    ask(fakes, 1)
    second, releases = loaded(fakes), fakes.recommender.releases
    fakes.users.activate(second.release)
    assert releases.follow()
    until(lambda: releases.active is not None and releases.active.release == second.release)
    assert releases.loaded_count == 2
    fakes.users.history = [second.release]  # the first is published no longer
    assert releases.follow()
    assert releases.loaded_count == 1


def test_a_failing_release_does_not_keep_another_from_loading(fakes: Fakes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests of an experiment's arm whose release is deleted try to load it again and again."""
    ask(fakes, 1)
    second, releases = loaded(fakes), fakes.recommender.releases
    load, failed = releases._load_release, threading.Event()

    def load_once_more(release: str) -> Release:
        if release == second.release and not failed.is_set():
            failed.set()
            raise ServiceError("elasticsearch", "did not answer in time")
        return load(release)

    monkeypatch.setattr(releases, "_load_release", load_once_more)
    monkeypatch.setattr(registry, "RETRY_AFTER_S", 0.3)
    fakes.users.activate(second.release)

    def follows() -> bool:
        releases.loaded("ffffffffffff")  # deleted
        releases.follow()
        return releases.active is not None and releases.active.release == second.release

    until(follows, 20)
    assert failed.is_set()


def test_the_popular_list_is_saved_to_disk(fakes: Fakes, tmp_path: Path) -> None:
    kept = lambda: getattr(LastRelease(tmp_path / "last.json").saved, "release", None)  # noqa: E731
    for world in (fakes.world, loaded(fakes)):
        fakes.users.live_release = world.release
        until_from(fakes, world.release)
        until(lambda world=world: kept() == world.release)  # type: ignore[misc]


def test_two_switches_keep_the_list_of_the_second(fakes: Fakes, monkeypatch: pytest.MonkeyPatch) -> None:
    ask(fakes, 1)
    second, releases = loaded(fakes), fakes.recommender.releases
    for world in (second, fakes.world):
        fakes.users.live_release = world.release
        until_from(fakes, world.release)
    jobs: list[tuple[Any, ...]] = []
    kept: list[str] = []
    monkeypatch.setattr(releases, "_background", SimpleNamespace(submit=lambda *job: jobs.append(job)))
    monkeypatch.setattr(releases, "last", SimpleNamespace(keep=lambda opened: kept.append(opened.release)))
    for world in (second, fakes.world):
        fakes.users.live_release = world.release
        ask(fakes, 1)
    for job, *arguments in reversed(jobs):  # two threads take them: the second may end first
        job(*arguments)
    assert kept[-1] == fakes.world.release


def test_a_damaged_release_does_not_end_the_one_before(fakes: Fakes, caplog: pytest.LogCaptureFixture) -> None:
    first, second = ask(fakes, 1), another(fakes)
    del second.titles[second.itemids[0]]
    fakes.add(second)
    fakes.users.live_release = second.release
    assert ask(fakes, 1).item_list == first.item_list  # which begins to open the other
    until(lambda: "cannot be loaded" in caplog.text)
    assert ask(fakes, 1).item_list == first.item_list


def test_a_pruned_release_waits_for_the_new_one(fakes: Fakes) -> None:
    ask(fakes, 1)
    second = loaded(fakes)
    for service in fakes.services:
        del service.worlds[fakes.world.release]
    fakes.users.live_release = second.release
    answer = ask(fakes, 1, strict=True)
    assert answer.release == second.release
    assert Outcome.COLD_START not in outcomes(answer)


def test_a_release_is_opened_once_however_many_ask(fakes: Fakes) -> None:
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda userid: ask(fakes, userid), [1, 8] * 16))
    assert all(len(answer.item_list) == 50 for answer in answers)
    items_read = [q for q in fakes.features.calls if q.entity == "item"]
    assert sum(len(q.ids) for q in items_read) == len(fakes.world.itemids)


def test_a_new_model_version_needs_no_restart(fakes: Fakes) -> None:
    first = ask(fakes, 1)
    fakes.users.worlds[fakes.world.release] = fakes.scorer.worlds[fakes.world.release] = type(fakes.world)(
        model_version=9
    )
    assert outcomes(ask(fakes, 1)) == (Outcome.NOT_RANKED,)  # the release is being read again
    until(lambda: not outcomes(ask(fakes, 1)))
    assert ask(fakes, 1).item_list == first.item_list
    assert fakes.scorer.calls[-1].version == 9


def test_a_missing_model_is_an_error_at_once(fakes: Fakes) -> None:
    ask(fakes, 1)
    fakes.scorer.worlds.clear()
    fakes.scorer.calls.clear()
    with pytest.raises(ServiceError) as raised:
        ask(fakes, 1, strict=True)
    assert raised.value.service == "triton"
    assert len(fakes.scorer.calls) == 1


def finish_background_work(fakes: Fakes) -> None:
    """Return once both background threads have nothing left to do."""
    both = threading.Barrier(3, timeout=60)
    for _ in range(2):
        fakes.recommender._background.submit(both.wait)
    both.wait()


def test_a_missing_model_is_not_queried_every_request(fakes: Fakes) -> None:
    ask(fakes, 1)
    fakes.scorer.worlds.clear()
    assert outcomes(ask(fakes, 1)) == (Outcome.NOT_RANKED,)  # looks, in vain
    finish_background_work(fakes)
    for service in (fakes.users, fakes.items, fakes.scorer):
        service.calls.clear()
    for _ in range(3):
        assert outcomes(ask(fakes, 1)) == (Outcome.NOT_RANKED,)
    assert [len(service.calls) for service in (fakes.users, fakes.items, fakes.scorer)] == [3, 3, 3]
    assert fakes.users.opened.count(fakes.world.release) == 2


@pytest.mark.parametrize("name", ["elasticsearch", "feast", "triton"])
def test_a_request_on_a_deleted_release_gets_the_new_one(fakes: Fakes, name: str) -> None:
    ask(fakes, 1)
    second = loaded(fakes)
    gate = fakes.items.gate = threading.Event()  # the new one takes its time to open
    fakes.users.live_release = second.release
    assert ask(fakes, 1).release == fakes.world.release
    del fakes.service(name).worlds[fakes.world.release]
    fakes.service(name).on_call = lambda: fakes.users.worlds.pop(fakes.world.release, None)  # Redis is cleared first
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(ask, fakes, 1)
        gate.set()
        assert answer.result(60).release == second.release


def test_a_release_that_could_not_be_opened_is_tried_again_later(fakes: Fakes, monkeypatch: pytest.MonkeyPatch) -> None:
    ask(fakes, 1)
    monkeypatch.setattr(registry, "RETRY_AFTER_S", 600.0)
    second = another(fakes)
    fakes.users.live_release = second.release
    for _ in range(50):
        assert ask(fakes, 1).release == fakes.world.release
    assert fakes.users.opened.count(second.release) == 1  # not with every request
    fakes.add(second)
    monkeypatch.setattr(registry, "RETRY_AFTER_S", 0.05)
    assert until_from(fakes, second.release).release == second.release


@pytest.mark.parametrize("named", [False, True])
def test_nobody_waits_long_for_a_release_that_opens(fakes: Fakes, monkeypatch: pytest.MonkeyPatch, named: bool) -> None:
    gate = fakes.items.gate = threading.Event()
    try:
        for limits in ({"budget_ms": 500}, {"budget_ms": 500, "strict": True}, {}, {"strict": True}):
            monkeypatch.setattr(registry, "LOADING_WAIT_S", 60.0 if "budget_ms" in limits else 0.05)
            started = time.perf_counter()
            with pytest.raises(LoadingError, match=fakes.world.release):
                ask(fakes, 1, release=fakes.world.release if named else None, **limits)
            assert time.perf_counter() - started < 2.5  # a part of the longest budget is 3
        readiness = fakes.recommender.readiness()
        assert not readiness.ready
        assert "is loading" in readiness.message
    finally:
        gate.set()
    monkeypatch.setattr(registry, "LOADING_WAIT_S", 60.0)
    assert len(ask(fakes, 1).item_list) == 50
    assert fakes.users.opened.count(fakes.world.release) == 1


def test_a_request_sees_what_is_older_than_its_second(fakes: Fakes) -> None:
    """A rating in that second or later does not count: its item may be recommended, and it changes nothing."""
    stored, since = fakes.world.stored(LONG_HISTORY_USER), LAST_EVENT - 100 * 3600
    rated = stored.history.item_numbers[stored.history.times >= since]
    there = ask(fakes, LONG_HISTORY_USER, MAX_SIZE, timestamp=since)
    assert set(there.itemids) & set(rated.tolist())
    older = stored.history.item_numbers[stored.history.times < since]
    assert not set(there.itemids) & set(older.tolist())
    history = fakes.world.histories[LONG_HISTORY_USER]
    ratings = np.where(history.times >= since, history.ratings % 5 + 1, history.ratings)
    fakes.world.histories[LONG_HISTORY_USER] = replace(history, ratings=ratings)
    assert ask(fakes, LONG_HISTORY_USER, MAX_SIZE, timestamp=since).item_list == there.item_list
