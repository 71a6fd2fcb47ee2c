"""The comparison of recipes chooses on events that no figure is of."""

from __future__ import annotations

from data_exchange_center.dataset import HoldoutRule
from data_exchange_center.settings import Settings
from offline.evaluation import replay
from research.experiments import fitted


def test_the_last_ten_are_not_read(made_up: Settings) -> None:
    requests = fitted.before_the_last(made_up)
    whole = fitted.read_with_holdout(made_up).data
    assert requests.data.lengths.tolist() == [max(0, n - 6) for n in whole.lengths]
    expected = replay.hold_out(whole.before_last(3), HoldoutRule(last=3))
    assert (requests.holdout.relevance != expected.relevance).nnz == 0
