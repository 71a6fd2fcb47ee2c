"""Baselines in closed form, on people who walk round the items."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from data_exchange_center.dataset import HoldoutRule
from offline.data.sequences import Sequences
from offline.evaluation import replay
from offline.evaluation.replay import Holdout
from research.baselines import (
    LATELY,
    POPULARITY,
    SIZE,
    classical,
    followed,
    lately_popular,
    popular,
)
from tests.unit.offline.models.test_stages import ITEMS, USERS, inputs_of

DAY_S = 86_400


def sequences_of(*events: list[tuple[int, bool, int]], items: int = 5) -> Sequences:
    """Each user's (item, liked, time)."""
    flat = [event for user in events for event in user]
    starts = np.concatenate([[0], np.cumsum([len(user) for user in events])])
    items_, liked, times = (np.array([event[n] for event in flat]) for n in range(3))
    return Sequences(np.arange(len(events)), np.arange(items), starts, items_, liked + 3, liked.astype(bool), times)


@pytest.fixture(scope="module")
def holdout() -> Holdout:
    data = inputs_of(np.random.default_rng(0).integers(0, ITEMS, USERS - 1)).data
    return replay.hold_out(data, HoldoutRule(last=4))


def test_only_what_came_in_a_later_second_follows() -> None:
    past = sequences_of([(1, True, 0), (2, True, 0), (3, True, 5), (4, False, 6)])
    chain = followed(past, {"window": 3, "decay": 1.0, "rarity": 0.0})
    assert np.argwhere(chain > 0).tolist() == [[1, 3], [2, 3]]
    assert chain[1, 3] == pytest.approx(0.5 / 1.5)
    assert chain[2, 3] == pytest.approx(1 / 2)


def test_lately_is_strictly_before_the_request(holdout: Holdout) -> None:
    past = sequences_of([(1, True, 0), (2, True, 10 * DAY_S)], [(3, True, 10 * DAY_S - 1), (2, False, 0)])
    asked = replace(holdout, past=past, known=past, times=np.array([10 * DAY_S, 20 * DAY_S]))
    setting = {"counted": "liked", "days": 10}
    scores = lately_popular(asked, popular(past, setting), setting)
    assert np.floor(scores).astype(int).tolist() == [[0, 1, 0, 1, 0, 0], [0, 0, 1, 0, 0, 0]]
    assert popular(past, {"counted": "rated"}).tolist() == [0, 1, 2, 1, 0, 0]


def test_every_baseline_lists_what_is_new_to_each_user(holdout: Holdout) -> None:
    seen = holdout.past.seen().toarray() > 0
    names = []
    for baseline in classical():
        first = {**baseline.first, **({"dim": 4, "epochs": 2} if "dim" in baseline.first else {})}
        lists = baseline.fit(holdout, first).lists
        assert lists.shape == (USERS, min(SIZE, ITEMS))
        for user, codes in enumerate(lists):
            there = codes[codes > 0]
            assert len(set(there)) == len(there) > 0
            assert not seen[user, there].any()
        names.append(baseline.name)
        assert set(baseline.others) == set(baseline.first)
    assert names[:2] == [POPULARITY, LATELY]
