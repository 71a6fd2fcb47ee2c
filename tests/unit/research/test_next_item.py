"""The papers' protocols: requests, lists and metrics."""

from __future__ import annotations

import numpy as np
import pytest

from data_exchange_center.dataset import HoldoutRule
from offline.evaluation import replay
from offline.evaluation.protocols import fit_stages, in_both_orders
from research.next_item import answers, debiasing, distinct, from_the_end, measured, requests
from tests.unit.offline.evaluation.made_up import made_up
from tests.unit.offline.models.test_stages import ITEMS, RECIPE, USERS, inputs_of


def test_ties_are_a_second_apart_in_file_order_and_nothing_else_moves() -> None:
    times = distinct(np.array([5, 5, 5, 6, 20, 3, 3]), np.array([0, 5, 7]))
    assert times.tolist() == [5, 6, 7, 8, 20, 3, 4]


def test_a_request_knows_all_that_comes_before_and_its_time_or_not() -> None:
    data = made_up()
    last = from_the_end(data, 1)
    points = requests(data, last, clock=True)
    assert points.positions.tolist() == (data.lengths - 1).tolist()
    assert points.times.tolist() == data.times[last].tolist()
    assert requests(data, last, clock=False).times.tolist() == (data.times[last - 1] + 1).tolist()
    assert len(from_the_end(data, 12)) == 3  # the second user has no more than twelve


def test_metrics_of_one_target() -> None:
    lists = np.array([[7, 8, 9], [1, 2, 3], [4, 5, 6]])
    found = measured(lists, np.array([8, 1, 9]))
    assert found["hr@10"] == found["hr@200"] == pytest.approx(2 / 3)
    assert found["ndcg@10"] == pytest.approx((1 + 1 / np.log2(3)) / 3)


def test_no_item_weighs_more_than_the_bound_among_the_targets() -> None:
    targets = np.array([1, 2, 2, 3, 3, *[4] * 20])  # counts 1, 2, 2, 20; quartiles 1.75 and 6.5
    weights = debiasing(targets)
    assert weights[:5].tolist() == [1] * 5
    assert weights[5:].sum() == pytest.approx(np.floor(6.5 + 1.5 * 4.75))


def test_answers_are_those_of_the_other_protocols() -> None:
    inputs = inputs_of(np.random.default_rng(0).integers(0, ITEMS, USERS - 1))
    holdout = replay.hold_out(inputs.data, HoldoutRule(last=1))
    stages = fit_stages(holdout.past, inputs, RECIPE)
    points = requests(inputs.data, from_the_end(inputs.data, 1), clock=True)
    pairs = list(answers(stages, RECIPE, inputs, points))
    for order, lists in enumerate(in_both_orders(stages, RECIPE, inputs, holdout)):
        assert np.array_equal(np.concatenate([pair[order] for pair in pairs]), lists[points.users])
