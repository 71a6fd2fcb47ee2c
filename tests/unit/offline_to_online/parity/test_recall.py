"""Break one thing at a time in what the server recalls by; each must be caught and named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_exchange_center import artifacts
from data_exchange_center.channels import Channel
from data_exchange_center.columns import Columns
from data_exchange_center.fusion import Hits
from data_exchange_center.history import History
from data_exchange_center.recipes import DEFAULT, RECIPES
from data_exchange_center.steps import CheckError
from offline_to_online.rows import UserRow
from online.clients.elastic import ItemQuery
from tests.unit.offline_to_online.online_side import USERS, FakeItems, OnlineSide


def groups(side: OnlineSide) -> list[str]:
    """Every column of the model, and all that fusion says, in a group that tells how many they are."""
    spec = side.spec
    sizes = {
        "one-hot": len(spec.one_hot),
        "multi-hot": len(spec.multi_hot),
        "dense": len(spec.dense),
        "candidate": len(side.truth.columns),
        "history": len(spec.columns[spec.history_slice]),
    }
    return [*(f"{name} ({size} columns)" for name, size in sizes.items() if size), "score"]


@pytest.mark.parametrize("recipe", RECIPES)
def test_an_unchanged_side_agrees(folders: dict[str, Path], recipe: str) -> None:
    side = OnlineSide(folders[recipe], recipe)
    gaps = side.check()
    assert list(gaps) == groups(side)
    assert max(gaps.values()) <= 1e-6
    assert pairs(side) > 1_500


def pairs(side: OnlineSide) -> int:
    return sum(len(answer.itemids) for answer in side.answers())


def change_users(side: OnlineSide, change: Callable[[UserRow], UserRow]) -> None:
    side.users.rows = {userid: change(row) for userid, row in side.users.rows.items()}


def change_channels(side: OnlineSide, change: Callable[[Channel], dict[str, Any]]) -> None:
    changed = tuple(replace(channel, **change(channel)) for channel in side.channels.channels)
    side.channels = replace(side.channels, channels=changed)


def older(history: History) -> History:
    return History(history.itemids[1:], history.ratings[1:], history.times[1:])


def oldest_first(history: History) -> History:
    return History(history.itemids[::-1], history.ratings[::-1], history.times[::-1])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param(
            lambda row: replace(row, history=older(row.history)),
            r"column 'tower_score', user .*column 'history_item_0', user \d+, item \d+: ",
            id="the newest event is missing",
        ),
        pytest.param(
            lambda row: replace(row, history=replace(row.history, times=row.history.times + 1)),
            "column 'history_age_0'",
            id="a second late",
        ),
        pytest.param(
            lambda row: replace(row, history=oldest_first(row.history)), "column 'history_item_0'", id="oldest first"
        ),
        pytest.param(
            lambda row: replace(row, profile=row.profile % 2 + 1),
            r"column 'tower_score'(?!.*ease_score)",
            id="another profile, which one channel reads",
        ),
    ],
)
def test_another_state_of_the_users_is_caught(
    history_side: OnlineSide, change: Callable[[UserRow], UserRow], said: str
) -> None:
    change_users(history_side, change)
    with pytest.raises(CheckError, match=said):
        history_side.check()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param(
            lambda channel: {
                "base": channel.base[::-1],
                "lag": channel.lag[:, ::-1],
                "rating_weight": channel.rating_weight[:, ::-1],
            },
            r"column 'tower_score', user \d+, item \d+: .*column 'tower_standing'",
            id="who continues is answered as if returning, and the other way round",
        ),
        pytest.param(
            lambda channel: {"base": channel.base + np.array([[0], [1]], np.float32)},
            r"column 'tower_score', user \d*[02468],",
            id="only the weights of returning users are wrong: both kinds are asked for",
        ),
        pytest.param(lambda channel: {"lag": np.roll(channel.lag, 1, axis=2)}, "column 'tower_score'", id="lag"),
    ],
)
def test_another_channel_is_caught(
    history_side: OnlineSide, change: Callable[[Channel], dict[str, Any]], said: str
) -> None:
    change_channels(history_side, change)
    with pytest.raises(CheckError, match=said):
        history_side.check()


def test_the_last_ten_in_the_histories_are_caught(folders: dict[str, Path], history_side: OnlineSide) -> None:
    """The server holds what evaluation alone may read; both copies of it agree."""
    ratings = artifacts.RATINGS.read(folders["default"])
    by_user = ratings.groupby(Columns.USER)

    def leak(row: UserRow) -> UserRow:
        rows = by_user.get_group(row.number)[::-1]
        names = (Columns.ITEM, Columns.RATING, Columns.TIMESTAMP)
        return replace(row, history=History(*(rows[name].to_numpy(np.int64) for name in names)))

    change_users(history_side, leak)
    with pytest.raises(CheckError, match="column 'history_item_0'"):
        history_side.check()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param(
            lambda found: found[::-1],
            r"column 'tower_score'.*user \d+: channel 'tower' found item \d+ ",
            id="swapped channels",
        ),
        pytest.param(
            lambda found: tuple(Hits(hits.ids[::-1], hits.scores[::-1]) for hits in found),
            r"user \d+: channel 'tower' found item \d+ \(.* offline\) before item \d+",
            id="right scores in a wrong order: nothing but the order, and what follows from ranks, is off",
        ),
    ],
)
def test_an_index_that_answers_otherwise_is_caught(
    history_side: OnlineSide, change: Callable[[tuple[Hits, ...]], tuple[Hits, ...]], said: str
) -> None:
    class Changed(FakeItems):
        def _call(self, query: ItemQuery) -> tuple[Hits, ...]:
            return change(super()._call(query))

    history_side.items.__class__ = Changed
    with pytest.raises(CheckError, match=said):
        history_side.check()


def test_other_weights_in_the_fusion_are_caught(history_side: OnlineSide) -> None:
    first, *rest = DEFAULT.recall.channels
    recall = DEFAULT.recall.model_copy(update={"channels": (first.model_copy(update={"fusion_weight": 0.5}), *rest)})
    recipe = DEFAULT.model_copy(update={"recall": recall})
    history_side.served = history_side.served.model_copy(update={"recipe": recipe})
    with pytest.raises(CheckError, match=r"user \d+: fusion gives \[.*offline and \[.*online"):
        history_side.check()


@pytest.mark.parametrize(
    "change",
    [
        lambda row: replace(row, vectors={name: vector + 0.1 for name, vector in row.vectors.items()}),
        lambda row: replace(row, terms=row.terms[1:]),
    ],
    ids=["a stale vector", "other preferred genres"],
)
def test_what_a_stored_vector_is_searched_by_is_checked(side: OnlineSide, change: Callable[[UserRow], UserRow]) -> None:
    """Both make a score, in Elasticsearch's own scale."""
    change_users(side, change)
    with pytest.raises(CheckError, match="column 'fm_score'"):
        side.check()


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_seen_item_among_the_candidates_is_caught(folders: dict[str, Path], recipe: str) -> None:
    side = OnlineSide(folders[recipe], recipe)
    side.items.filters = False
    with pytest.raises(CheckError, match=r"user \d+: Elasticsearch gave seen items"):
        side.check()


def test_a_user_who_is_not_in_redis_is_named(side: OnlineSide) -> None:
    del side.users.rows[5]
    with pytest.raises(CheckError, match="user 5: Redis does not know"):
        side.check()


@pytest.mark.parametrize("recipe", RECIPES)
def test_who_has_seen_all_items_has_no_candidates_on_either_side(folders: dict[str, Path], recipe: str) -> None:
    side = OnlineSide(folders[recipe], recipe)
    everything = side.truth.itemids.astype(np.int32)
    replete = replace(side.truth.states[USERS[4]], seen=everything)
    side.users.rows[replete.own_id] = replete
    side.truth = replace(side.truth, states={**side.truth.states, replete.number: replete})
    side.check()
    assert pairs(side) < pairs(OnlineSide(folders[recipe], recipe))


@pytest.mark.parametrize("recipe", RECIPES)
def test_an_index_that_finds_nothing_for_somebody_is_caught(folders: dict[str, Path], recipe: str) -> None:
    class Empty(FakeItems):
        def _call(self, query: ItemQuery) -> tuple[Hits, ...]:
            found = super()._call(query)
            nothing = np.array_equal(query.seen, side.truth.states[USERS[4]].seen)
            return tuple(Hits(hits.ids[:0], hits.scores[:0]) for hits in found) if nothing else found

    side = OnlineSide(folders[recipe], recipe)
    side.items.__class__ = Empty
    with pytest.raises(CheckError, match=f"user {USERS[4]}: no channel found anything, and .* are unseen"):
        side.check()


def test_an_item_nobody_knows_is_named(history_side: OnlineSide) -> None:
    history_side.truth.positions(np.array([history_side.truth.itemids[5]]))
    with pytest.raises(CheckError, match="number 999999, which none of the items has"):
        history_side.truth.positions(np.array([999_999]))


def test_an_item_that_a_channel_never_met_is_named(history_side: OnlineSide) -> None:
    """It has no vector, so it must not compete; the last item of the artifacts is such a one."""
    truth, last = history_side.truth, history_side.truth.itemids[-1:]
    scores = truth.channel_scores(truth.states[1], 0)
    (said,) = truth.disorder(scores, {"ease": last})
    assert said == f"channel 'ease' found item {last[0]}, which it does not know"
