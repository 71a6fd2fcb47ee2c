from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_exchange_center.channels import BREAK_S, HistorySum, Requests
from data_exchange_center.features import ModelInputs
from data_exchange_center.history import History
from extras.explain.explain import MAX_ROWS, shares_of
from extras.explain.hook import WhyNotRequest, absent
from extras.explain.shapes import Explanation, WhyNot
from online.clients.base import ServiceError
from online.recommend.types import Answer, Request, Stopwatch
from tests.unit.data_exchange_center.test_channels import ITEMS, channel, deeper
from tests.unit.extras.conftest import BOTH_KINDS, Fakes
from tests.unit.online.conftest import SERVICES
from tests.unit.online.fakes import DownError
from tests.unit.online.world import (
    AT,
    BLANK_USER,
    LATER,
    LONG_HISTORY_USER,
    UNKNOWN_USER,
    SourceWorld,
    TypedWorld,
)

USER = 8
source = pytest.mark.parametrize("kind", [SourceWorld])


def requested(fakes: Fakes, **more: Any) -> Answer:
    request = {"userid": USER, "timestamp": AT, "explain": True, **more}
    return fakes.recommender.recommend(Request(**request))


def explained(fakes: Fakes, **more: Any) -> list[Explanation]:
    answer = requested(fakes, **more)
    explanations = list(answer.explained)
    assert [each.itemid for each in explanations] == answer.itemids
    return explanations


@BOTH_KINDS
def test_ranks_are_those_of_the_lists(fakes: Fakes) -> None:
    answer = requested(fakes, size=20)
    recall = requested(fakes, size=20, explain="recall").recall
    names = [channel.name for channel in fakes.world.recipe.recall.channels]
    assert not answer.recall  # long: only where it is requested
    for n, each in enumerate(answer.explained):
        assert each.ranked.rank == n + 1
        assert each.ranked.score == pytest.approx(answer.item_list[n].score, rel=1e-5)
        assert recall["fused"][each.fused.rank - 1] == each.itemid
        assert list(each.channels) == names
        for name, at in each.channels.items():
            ranks = {itemid: n for n, itemid in enumerate(recall[name], start=1)}
            assert (at.rank, at.of) == (ranks.get(each.itemid), len(ranks))


@pytest.mark.parametrize("userid", [LONG_HISTORY_USER, BLANK_USER, USER])
def test_shares_add_up_to_the_channels_score(fakes: Fakes, userid: int) -> None:
    explanations = explained(fakes, userid=userid, timestamp=LATER)
    places = [at for each in explanations for at in each.channels.values() if at.rank]
    for at in places:
        shares = at.shares
        parts = [shares.base, shares.popularity, shares.others]
        parts += shares.profile.values()
        parts += [event.share for event in shares.history]
        assert sum(parts) == pytest.approx(at.score, abs=1e-5)


@source
def test_a_channel_without_shares_is_explained_by_ranks(fakes: Fakes) -> None:
    for each in explained(fakes):
        (at,) = each.channels.values()
        assert at.shares is None
        assert each.reason.code == "taste"


def test_effects_are_differences_of_the_models_own_score(fakes: Fakes) -> None:
    world = fakes.world
    users = {feature.name for feature in world.spec.of("user")}
    explanations = explained(fakes)
    inputs = fakes.scorer.calls[0].inputs
    scores = world.scores(inputs)
    for each in explanations[:5]:
        at = int(np.abs(scores - each.ranked.score).argmin())
        sizes = [abs(moved.effect) for moved in each.effects]
        assert sizes == sorted(sizes, reverse=True)
        for moved in each.effects:
            assert moved.column not in users
            position = world.spec.columns.index(moved.column)
            changed = inputs.rows[[at]].copy()
            changed[:, position] = inputs.rows[:, position].mean()
            if moved.column == "itemid":
                changed[:, position] = 0
            (without,) = world.scores(ModelInputs(changed, inputs.history))
            assert moved.effect == pytest.approx(float(scores[at] - without), abs=1e-4)


def test_the_models_part_is_bounded(fakes: Fakes) -> None:
    reported = [each.effects is not None for each in explained(fakes, size=200)]
    assert len(reported) == 200
    assert reported == sorted(reported, reverse=True)
    assert any(reported)
    assert sum(len(call.inputs) for call in fakes.scorer.calls[1:]) <= MAX_ROWS


@pytest.mark.parametrize("kind", [TypedWorld])
def test_a_reason_names_the_type_of_its_events(fakes: Fakes) -> None:
    named = [each.reason for each in explained(fakes) if each.reason.code == "did"]
    assert named
    for reason in named:
        assert {"view", "return", "shown", "cart", "buy"}.issuperset(reason.values)
        assert reason.sentence.en.startswith(f"Because of {reason.values[0]}: ")


def test_reasons_name_liked_films_of_the_history(fakes: Fakes) -> None:
    history = fakes.world.histories[USER]
    liked = set(history.item_numbers[history.ratings > 3].tolist())
    reasons = [each.reason for each in explained(fakes)]
    assert {reason.code for reason in reasons} >= {"liked", "popular", "profile"}
    for reason in reasons:
        titles = [item.title for item in reason.items]
        for title in titles:
            assert title in reason.sentence.en
            assert title in reason.sentence.zh
        assert bool(titles) == (reason.code in ("liked", "rated"))
        if reason.code == "liked":
            assert {item.itemid for item in reason.items} <= liked
        if reason.code == "profile":
            assert set(reason.values) <= {"gender", "age", "occupation"}


def test_a_reason_names_an_item_once(
    fakes: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a user with two events of each item, as of somebody who buys the same again."""
    history = fakes.world.histories[USER]
    parts = (history.item_numbers, history.ratings, history.times)
    twice = History(*(np.repeat(part, 2) for part in parts))
    monkeypatch.setitem(fakes.world.histories, USER, twice)
    named = [[item.title for item in each.reason.items] for each in explained(fakes)]
    assert max(map(len, named)) == 2
    assert all(len(set(titles)) == len(titles) for titles in named)


def test_an_unknown_user_is_explained_by_popularity(fakes: Fakes) -> None:
    explanations = explained(fakes, userid=UNKNOWN_USER, size=5)
    for place, each in enumerate(explanations, start=1):
        assert each.reason.code == "popular"
        assert (each.channels, each.fused, each.effects) == ({}, None, None)
        assert (each.ranked.rank, each.ranked.of) == (place, len(fakes.world.popular))


def test_explanations_end_with_the_budget(fakes: Fakes) -> None:
    requested(fakes)
    fakes.scorer.on_call = lambda: time.sleep(0.2)
    late = requested(fakes, budget_ms=150)
    assert len(late.item_list) == 50
    assert late.explained == []


def test_a_failed_explanation_is_an_error_only_if_strict(fakes: Fakes) -> None:
    def ends_after_the_list() -> None:
        if len(fakes.scorer.calls) % 2 == 1:
            raise DownError

    fakes.scorer.on_call = ends_after_the_list
    assert {each.effects for each in explained(fakes)} == {None}
    with pytest.raises(ServiceError):
        requested(fakes, strict=True)


def history_of(
    events: Sequence[tuple[int, int]], profile: tuple[int, int], ago: int
) -> Requests:
    """Of one user: items and ratings, newest first."""
    items, ratings = np.array(events, np.int64).reshape(-1, 2).T[:, None]
    counts = np.array([len(events)])
    nothing = np.zeros_like(items)
    return Requests(
        items, ratings, nothing, counts, np.array([profile]), np.array([ago])
    )


# more than the channel looks at
EVENTS = st.lists(st.tuples(st.integers(0, ITEMS), st.integers(1, 5)), max_size=9)


@pytest.mark.parametrize("one", [channel(), deeper()], ids=["sum", "with hidden units"])
@given(EVENTS, st.integers(0, 2), st.integers(0, 1), st.sampled_from([1, BREAK_S]))
def test_shares_add_up(
    one: HistorySum, events: list[tuple[int, int]], gender: int, age: int, ago: int
) -> None:
    requested = history_of(events, (gender, age), ago)
    shares = shares_of(one, requested, np.arange(ITEMS + 1))
    assert shares.events.shape == (ITEMS + 1, min(len(events), one.events))
    assert shares.profile.shape == (ITEMS + 1, 2)
    expected = (one.user_vectors(requested) @ one.item_vectors().T)[0]
    total = shares.base + shares.popularity
    total += shares.profile.sum(axis=1) + shares.events.sum(axis=1)
    # the latter is float32
    np.testing.assert_allclose(total[1:], expected[1:], rtol=1e-5, atol=1e-5)
    # an unknown item carries nothing
    unknown = requested.items[0, : one.events] == 0
    assert (shares.events[:, unknown] == 0).all()


def test_each_share_is_of_its_own_terms() -> None:
    one, requested = channel(), history_of([(3, 5), (7, 1)], (2, 1), 1)
    items = np.arange(1, ITEMS + 1)
    shares, found = shares_of(one, requested, items), one.items[items]
    regime = requested.regimes[0]
    np.testing.assert_allclose(shares.base, found @ one.base[regime], atol=1e-5)
    np.testing.assert_allclose(shares.popularity, one.bias[items], atol=1e-5)
    profile = [found @ one.profile[0][2], found @ one.profile[1][1]]
    np.testing.assert_allclose(shares.profile, np.stack(profile, axis=1), atol=1e-5)
    for n, (code, rating) in enumerate([(3, 5), (7, 1)]):
        # a field each
        weight = one.lag[:, regime, n] * one.rating_weight[:, regime, rating]
        np.testing.assert_allclose(
            shares.events[:, n], found @ (weight @ one.rows[:, code]), atol=1e-5
        )


def why_not(fakes: Fakes, itemid: int, userid: int = USER, **more: Any) -> WhyNot:
    given = {"userid": f"{userid}", "itemid": f"{itemid}", "timestamp": AT, **more}
    return absent(fakes.parts, WhyNotRequest(**given), Stopwatch())


def listed(fakes: Fakes, userid: int = USER, size: int = 200) -> list[int]:
    request = Request(userid=userid, size=size, timestamp=AT)
    return list(fakes.recommender.recommend(request).itemids)


@BOTH_KINDS
def test_it_says_of_every_item_what_the_list_says(fakes: Fakes) -> None:
    for userid in fakes.world.userids:
        there, seen = listed(fakes, userid, size=50), fakes.world.seen[userid]
        for itemid in fakes.world.itemids[userid :: len(fakes.world.userids) * 4]:
            found = why_not(fakes, itemid, userid)
            assert (found.code == "in_the_list") == (itemid in there)
            assert (found.code == "seen") == (itemid in seen)
            assert "None" not in found.sentence.en + found.sentence.zh


def test_an_item_seen_later_is_not_seen_yet(fakes: Fakes) -> None:
    """A request of an earlier time knows nothing of the newest event."""
    history = fakes.world.histories[USER]
    newest, second = int(history.item_numbers[0]), int(history.times[1])
    assert why_not(fakes, newest).code == "seen"
    assert why_not(fakes, newest, timestamp=second + 1).code != "seen"


@BOTH_KINDS
def test_an_item_ranked_below_the_cut(fakes: Fakes) -> None:
    there = listed(fakes)
    found = why_not(fakes, there[59])
    assert found.code == "ranked_below"
    assert found.ranked.rank == 60
    assert "60 of" in found.sentence.en
    against = [moved.column for moved in found.effects if moved.effect < 0]
    for column in against[:1]:
        assert column in found.sentence.en
    assert why_not(fakes, there[59], size=60).code == "in_the_list"


def test_an_item_found_by_no_channel(fakes: Fakes) -> None:
    world = fakes.world
    vectors = world.user_vectors(USER)
    unseen = [itemid for itemid in world.trained if itemid not in world.seen[USER]]
    for itemid in set(unseen) - set(world.recalled(USER).ids.tolist()):
        answer = why_not(fakes, itemid)
        assert (answer.code, answer.fused.rank) == ("not_found", None)
        for name, at in answer.channels.items():
            of_items = [world.item_vectors[name][each] for each in unseen]
            products = np.array(of_items) @ vectors[name]
            mine = products[unseen.index(itemid)]
            assert at.rank == 1 + (products > mine).sum()
            assert at.score == pytest.approx(mine, abs=1e-4)
            assert f"{name} {at.rank}" in answer.sentence.en


@BOTH_KINDS
def test_an_item_without_features(fakes: Fakes) -> None:
    item = fakes.world.no_features_item
    fakes.world.seen[USER].remove(item)
    vectors = fakes.world.user_vectors(USER)
    for name, table in fakes.world.item_vectors.items():
        table[item] = 100 * np.sign(vectors[name]).astype(np.float32)
    assert why_not(fakes, item).code == "no_features"


def test_unknown_item_and_unknown_user(fakes: Fakes) -> None:
    assert why_not(fakes, 123_456_789).code == "unknown_item"
    best, last = fakes.world.popular[0][0], fakes.world.popular[-1][0]
    assert why_not(fakes, best, UNKNOWN_USER).code == "in_the_list"
    found = why_not(fakes, last, UNKNOWN_USER)
    assert found.code == "unknown_user"
    assert found.ranked.rank == len(fakes.world.popular)


@pytest.mark.parametrize("service", SERVICES)
def test_it_is_strict(fakes: Fakes, service: str) -> None:
    listed(fakes)
    fakes.service(service).down = True
    with pytest.raises(ServiceError) as caught:
        why_not(fakes, fakes.world.itemids[0])
    assert caught.value.service == service


def test_an_item_that_a_rule_hides(fakes: Fakes) -> None:
    fakes.parts.in_order = lambda opened, itemids: np.arange(0)
    assert why_not(fakes, fakes.world.itemids[5]).code == "hidden"
