import logging
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_exchange_center.candidates import ItemQuery
from data_exchange_center.fusion import Hits
from online.clients.base import ServiceError
from online.clients.feast import FeatureQuery
from online.recommend.outcomes import Outcome
from online.recommend.types import MAX_SIZE
from tests.unit.online.conftest import Fakes, ask, outcomes
from tests.unit.online.world import (
    AT,
    LAST_EVENT,
    LATER,
    LONG_HISTORY_USER,
    NO_TERMS_USER,
    NO_VECTOR_ITEM,
    NO_VECTOR_USER,
    UNKNOWN_USER,
    DefaultWorld,
)


@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    userid=st.sampled_from([1, LONG_HISTORY_USER, NO_TERMS_USER, NO_VECTOR_USER, 8]),
    size=st.integers(1, MAX_SIZE),
    timestamp=st.sampled_from([AT, LATER]),
)
def test_the_answer_is_the_models_order_of_unseen_items(
    fakes: Fakes, userid: int, size: int, timestamp: int
) -> None:
    answer = ask(fakes, userid, size, timestamp=timestamp)
    itemids = answer.itemids
    scores = [item.score for item in answer.item_list]
    assert not set(itemids) & set(fakes.world.seen[userid])
    assert len(itemids) == len(set(itemids))
    assert size - 2 <= len(itemids) <= size or userid == LONG_HISTORY_USER
    assert scores == sorted(scores, reverse=True)
    np.testing.assert_allclose(
        scores, fakes.world.expected_scores(userid, itemids, timestamp), rtol=1e-5
    )
    for item in answer.item_list:
        shown = fakes.world.shown(int(item.itemid))
        reported = item.model_dump(exclude={"score"})
        assert reported == {
            "itemid": shown.own_id,
            "title": shown.title,
            **shown.attributes,
        }


def test_recall_is_explained_on_request(fakes: Fakes) -> None:
    world = fakes.world
    reported = ask(fakes, 1, 5, explain="recall").recall
    assert list(reported) == [
        "fused",
        *(channel.name for channel in world.recipe.recall.channels),
    ]
    assert reported["fused"] == world.recalled(1).ids.tolist()
    assert ask(fakes, 1, 5).recall == {}
    assert ask(fakes, UNKNOWN_USER, 5, explain="recall").recall == {"fused": []}


def test_ties_go_by_itemid(fakes: Fakes) -> None:
    fakes.world.weights[:] = 0  # the world's own array: every score is a half
    itemids = ask(fakes, 1).itemids
    assert itemids == sorted(itemids)
    assert [len(service.calls) for service in fakes.services] == [1, 1, 1, 1]
    assert fakes.features.calls == [FeatureQuery("user", fakes.world.release, (1,))]


def test_items_that_no_channel_finds_complete_a_short_list(fakes: Fakes) -> None:
    world, userid = fakes.world, NO_TERMS_USER
    left = [NO_VECTOR_ITEM, *world.itemids[-3:-1]]
    world.seen[userid] = [itemid for itemid in world.itemids if itemid not in left]
    for name in world.item_vectors:
        world.item_vectors[name].clear()
    answer = ask(fakes, userid, 200, explain="recall")
    assert (outcomes(answer), answer.filled_up) == ((), 3)
    assert answer.short == "no_more_items"
    assert set(answer.itemids) == set(left)
    popular = [itemid for itemid, _ in world.popular if itemid in left]
    nothing: list[int] = []
    names = world.vector_dims
    assert answer.recall == {**dict.fromkeys(names, nothing), "fused": popular}
    # the channels' features of them
    scores = fakes.scorer.calls[-1].inputs.rows[:, len(world.spec.features) :]
    assert not scores[:, :-1].any()
    complete = ask(fakes, userid, 3)
    assert (len(complete.item_list), complete.filled_up, complete.short) == (3, 3, "")


def test_all_items_seen_is_an_empty_list_of_full_quality(fakes: Fakes) -> None:
    fakes.world.seen[1] = list(fakes.world.itemids)
    answer = ask(fakes, 1)
    assert (answer.item_list, outcomes(answer), answer.short) == (
        [],
        (),
        "no_more_items",
    )
    assert answer.reason
    assert ask(fakes, 1, strict=True).item_list == []


@pytest.mark.parametrize("n_unseen", [None, 3])
def test_a_vector_of_another_width_is_an_error(
    fakes: Fakes, n_unseen: int | None
) -> None:
    name = fakes.world.recipe.recall.channels[0].name
    fakes.world.stored_vectors[1][name] = np.zeros(77, np.float32)
    if n_unseen is not None:
        fakes.world.seen[1] = fakes.world.itemids[n_unseen:]
    check_unusable(fakes, f"77 numbers for {name}")


@pytest.mark.parametrize("kind", [DefaultWorld])
def test_unknown_profile_codes_are_an_error(
    fakes: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes = np.array([1000, 1000, 1000], np.int32)
    monkeypatch.setattr(DefaultWorld, "profile", lambda *_: codes)
    check_unusable(fakes, "redis: holds data of this user")


def check_unusable(fakes: Fakes, said: str) -> None:
    """Of the state only the seen items can be used: the answer has popular unseen items, ranked."""
    with pytest.raises(ServiceError, match=said):
        ask(fakes, 1, strict=True)
    answer, world = ask(fakes, 1, MAX_SIZE), fakes.world
    (found,) = answer.degraded
    assert (found.outcome, found.service) == (Outcome.NO_RECALL, "redis")
    unseen = [itemid for itemid, _ in world.popular if itemid not in world.seen[1]]
    assert len(answer.item_list) == answer.filled_up == min(MAX_SIZE, len(unseen))
    assert set(answer.itemids) <= set(unseen[: world.recipe.recall.candidates])


def test_items_without_features_are_left_out_and_logged(
    fakes: Fakes, caplog: pytest.LogCaptureFixture
) -> None:
    strange = fakes.world.no_features_item
    channel = fakes.world.recipe.recall.channels[0].name
    fakes.world.item_vectors[channel][strange] = (
        fakes.world.user_vectors(1)[channel] * 100
    )  # recalled before others
    fakes.world.seen[1] = []
    with caplog.at_level(logging.WARNING):
        answer = ask(fakes, 1, MAX_SIZE)
    assert outcomes(answer) == (Outcome.NO_ITEM_FEATURES,)
    assert strange not in set(answer.itemids)
    assert len(answer.item_list) == min(
        MAX_SIZE, fakes.world.recipe.recall.candidates - 1
    )
    assert str(strange) in caplog.text


@pytest.mark.parametrize("triton_is_down", [False, True])
def test_items_missing_in_the_catalogue_are_logged(
    fakes: Fakes,
    triton_is_down: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    ask(fakes, 1)
    strange, found = 10**6, fakes.items._call

    def first(query: ItemQuery) -> dict[str, Hits]:
        return {
            name: Hits(np.r_[strange, hits.ids], np.r_[1e3, hits.scores])
            for name, hits in found(query).items()
        }

    monkeypatch.setattr(fakes.items, "_call", first)
    fakes.scorer.down = triton_is_down
    answer = ask(fakes, 1, MAX_SIZE, explain="recall")
    assert outcomes(answer) == ((Outcome.NOT_RANKED,) if triton_is_down else ())
    assert all(strange not in itemids for itemids in answer.recall.values())
    size = min(MAX_SIZE, len(answer.recall["fused"]))
    assert len(answer.item_list) == size >= MAX_SIZE - 1
    assert str(strange) in caplog.text


def test_a_request_sees_what_is_older_than_its_second(fakes: Fakes) -> None:
    """A rating in that second or later does not count: its item may be recommended, and it changes nothing."""
    userid, since = LONG_HISTORY_USER, LAST_EVENT - 100 * 3600
    history = fakes.world.histories[userid]
    is_later = history.times >= since
    there = ask(fakes, userid, MAX_SIZE, timestamp=since)
    assert set(there.itemids) & set(history.item_numbers[is_later].tolist())
    assert not set(there.itemids) & set(history.item_numbers[~is_later].tolist())
    ratings = np.where(is_later, history.ratings % 5 + 1, history.ratings)
    fakes.world.histories[userid] = replace(history, ratings=ratings)
    again = ask(fakes, userid, MAX_SIZE, timestamp=since)
    assert again.item_list == there.item_list
