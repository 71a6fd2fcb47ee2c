"""The papers' protocol on users who take the items in turn."""

from dataclasses import replace

import numpy as np
import pytest

from research import papers
from research.papers import WITH, WITHOUT, fitted, measured, requests, targets
from tests.unit.offline.data.ratings import events_of
from tests.unit.offline.models.test_stages import ITEMS, RECIPE, USERS, inputs_of


def test_requests_know_all_before_and_their_time_or_not() -> None:
    data = events_of(
        [[1, 2, 3], [2], [3, 1]], [[5] * 3, [5], [1, 1]], [[0, 7, 90], [5], [4, 5]]
    )
    last = targets(data, 1)
    assert data.items[last].tolist() == [3, 1]
    with_time, without = (requests(data, last, clock=clock) for clock in (True, False))
    assert with_time.positions.tolist() == [2, 1]
    assert with_time.times.tolist() == [90, 5]
    assert without.times.tolist() == [7 + papers.WITHOUT_S, 4 + papers.WITHOUT_S]


def test_metrics_by_rank_and_by_gap() -> None:
    lists = np.array([[1, 2, 3], [3, 2, 1], [1, 2, 3]])
    found = measured(lists, np.array([1, 1, 7]), np.array([1, 30, 4000]))
    assert found["hr@10"] == pytest.approx(2 / 3)
    assert found["ndcg@10"] == pytest.approx((1 + 1 / np.log2(4)) / 3)
    assert {name: row["hr@10"] for name, row in found["by gap"].items()} == {
        "at once": 1,
        "a minute": 1,
        "later": 0,
    }


def test_nothing_of_the_target_or_later_is_fitted_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inputs = inputs_of(np.random.default_rng(0).integers(0, ITEMS, USERS - 1))
    inputs = replace(
        inputs, data=replace(inputs.data, liked=np.ones_like(inputs.data.liked))
    )
    pasts, fit = [], papers.fit_stages
    monkeypatch.setattr(
        papers, "fit_stages", lambda *given: pasts.append(given[0]) or fit(*given)
    )
    row = fitted(inputs, RECIPE, target=2)
    assert (inputs.data.lengths - pasts[0].lengths)[:-1].tolist() == [2] * (USERS - 1)
    assert set(row["ranked"]) == {WITH, WITHOUT}
    assert row["ranked"][WITH]["hr@10"] > 0.5
