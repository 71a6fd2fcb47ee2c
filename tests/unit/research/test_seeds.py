"""Other seeds."""

from __future__ import annotations

import numpy as np
import pytest

from data_exchange_center.dataset import HoldoutRule
from offline.evaluation import replay
from offline.evaluation.protocols import EvalRequests, fit_stages
from research.seeds import spread, systems, with_seed
from tests.unit.offline.models.test_stages import ITEMS, RECIPE, USERS, inputs_of


def test_every_stage_of_fitted_systems_holds_nothing_seen() -> None:
    inputs = inputs_of(np.random.default_rng(0).integers(0, ITEMS, USERS - 1))
    requests = EvalRequests(replay.hold_out(inputs.data, HoldoutRule(last=4)), inputs)
    found = systems(fit_stages(requests.holdout.past, inputs, RECIPE), requests, RECIPE)
    assert list(found) == ["channel tower", "channel ease", "recall", "ranked"]
    seen = requests.holdout.past.seen().toarray() > 0
    for lists in found.values():
        assert not any(seen[user, codes[codes > 0]].any() for user, codes in enumerate(lists))
    assert np.array_equal(np.sort(found["recall"]), np.sort(found["ranked"]))


def test_a_seed_is_changed_in_every_part() -> None:
    seeded = with_seed(RECIPE, 7)
    assert [channel.seed for channel in seeded.recall.channels] == [7, 7]
    assert with_seed(seeded, 0) == RECIPE
    found = spread([{"recall": {"ndcg": 1.0}}, {"recall": {"ndcg": 3.0}}])
    assert found == {"recall": {"ndcg": {"by_seed": [1.0, 3.0], "mean": 2.0, "std": pytest.approx(np.sqrt(2))}}}
