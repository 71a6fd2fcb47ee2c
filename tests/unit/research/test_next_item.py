"""The papers' protocols: requests, lists and metrics."""

from __future__ import annotations

import numpy as np

from data_exchange_center.dataset import HoldoutRule
from offline.evaluation import replay
from offline.evaluation.protocols import fit_stages, in_both_orders
from research.next_item import answers, from_the_end, requests
from tests.unit.offline.evaluation.made_up import made_up
from tests.unit.offline.models.test_stages import ITEMS, RECIPE, USERS, inputs_of


def test_a_request_knows_all_that_comes_before_and_its_time_or_not() -> None:
    data = made_up()
    last = from_the_end(data, 1)
    points = requests(data, last, clock=True)
    assert points.positions.tolist() == (data.lengths - 1).tolist()
    assert points.times.tolist() == data.times[last].tolist()
    assert requests(data, last, clock=False).times.tolist() == (data.times[last - 1] + 1).tolist()
    assert len(from_the_end(data, 12)) == 3  # the second user has no more than twelve


def test_answers_are_those_of_the_other_protocols() -> None:
    inputs = inputs_of(np.random.default_rng(0).integers(0, ITEMS, USERS - 1))
    holdout = replay.hold_out(inputs.data, HoldoutRule(last=1))
    stages = fit_stages(holdout.past, inputs, RECIPE)
    points = requests(inputs.data, from_the_end(inputs.data, 1), clock=True)
    pairs = list(answers(stages, RECIPE, inputs, points))
    for order, lists in enumerate(in_both_orders(stages, RECIPE, inputs, holdout)):
        assert np.array_equal(np.concatenate([pair[order] for pair in pairs]), lists[points.users])
