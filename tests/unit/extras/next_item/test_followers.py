"""The channel of what comes after what, and its recipe."""

from __future__ import annotations

import numpy as np
import pytest

from data_exchange_center.channels import Requests
from data_exchange_center.fusion import NOT_FOUND
from data_exchange_center.recipes import DataRecipe, recipe_called
from data_exchange_center.steps import StepError
from extras.next_item import followers
from extras.next_item.followers import NEXT_ITEM, Followers, FollowersRecipe, fit
from offline.data.sequences import Sequences
from offline.recall.s2_vector_recall import fit_channel
from tests.unit.offline.data.ratings import events_of
from tests.unit.offline.models.test_stages import inputs_of

INPUTS = inputs_of(np.zeros(39, int))
# item 2 comes at once after item 1, item 3 later, item 4 at once after item 3
SECONDS = [0, 1, 60, 61]


def fitted(data: Sequences, **settings: float) -> Followers:
    channel = fit(FollowersRecipe(**settings), data, INPUTS, DataRecipe()).channel
    assert isinstance(channel, Followers)
    return channel


def pages() -> Sequences:
    return events_of([[1, 2, 3, 4]] * 2, [[5, 5, 5, 1]] * 2, [SECONDS] * 2, n_items=5)


def requests(items: list[int], gap: int) -> Requests:
    codes = np.array([items])
    times, now = np.full(codes.shape, 1000), np.array([1000 + gap])
    length, profile = np.array([len(items)]), np.zeros((1, 0), int)
    return Requests(codes, codes, times, length, profile, now)


@pytest.mark.parametrize(("gap", "best"), [(1, 2), (2, 3), (10**9, 3)])
def test_the_gap_of_the_request_chooses_the_table(gap: int, best: int) -> None:
    scores = fitted(pages()).scores(requests([1], gap))
    assert int(scores.argmax()) == best


def test_scores_are_logs_of_weighted_shares() -> None:
    times = [[0, 60, 120], [0, 60]]
    events = events_of([[1, 3, 4], [1, 4]], [[5] * 3, [5] * 2], times, 4)
    found = fitted(events, prior=0.0)
    shares = found.tables[followers.LATER, 1].tolist()
    # 1 of 1, 1/2 + 1
    assert shares == pytest.approx([0, 0, 0, 400, 600], rel=1e-3)
    scores = found.scores(requests([3, 1], 60))
    assert scores[0, 3:] == pytest.approx(np.log([400 / 2, 1000 + 600 / 2]), rel=1e-3)
    assert (scores[0, :3] == NOT_FOUND).all()


def test_users_are_no_followers_of_one_another() -> None:
    tables = fitted(events_of([[1], [2]], [[5], [5]])).tables
    assert not tables.any()


def test_without_history_nothing_is_found() -> None:
    empty = requests([], 0)
    assert (fitted(pages()).scores(empty) == NOT_FOUND).all()


def test_too_many_items_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(followers, "MOST_ITEMS", 4)
    with pytest.raises(StepError, match="items x items"):
        fitted(pages())


def test_the_recipe_is_found_by_its_name() -> None:
    recipe = recipe_called("next-item")
    assert recipe == NEXT_ITEM
    last = recipe.recall.channels[-1]
    channel = fit_channel(last, INPUTS.data, INPUTS, recipe.data).channel
    assert isinstance(channel, Followers)
    assert channel.events == 20
