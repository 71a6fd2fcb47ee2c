"""The papers' table, of people who walk round the items."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from offline.data.sequences import Inputs
from research import papers
from research.papers import WITH, WITHOUT, at_one_moment
from tests.unit.offline.models.test_stages import ITEMS, RECIPE, USERS, inputs_of


@pytest.fixture
def inputs() -> Inputs:
    found = inputs_of(np.random.default_rng(0).integers(0, ITEMS, USERS - 1))
    data = found.data
    times = data.times + np.repeat(np.arange(data.n_users) * 3600, data.lengths)  # nobody's end is everybody's
    return replace(found, data=replace(data, liked=np.ones_like(data.liked), times=times))


def test_at_one_moment_targets_are_later_than_all_that_was_fitted_on(
    inputs: Inputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted, fit = [], papers.fit_stages
    monkeypatch.setattr(papers, "fit_stages", lambda *given: fitted.append(given[0]) or fit(*given))
    found = at_one_moment(inputs, RECIPE)
    (past,) = fitted
    assert found["ratings"] <= len(inputs.data.items) - len(past.items)
    assert past.times.max() <= np.quantile(inputs.data.times, 0.9)
    for when in (WITH, WITHOUT):
        targets = found["targets"][when]
        assert set(targets) == {"last", "all later"} | ({"successive"} if when == WITHOUT else set())
        assert targets["all later"]["hr@10"] >= targets["all later"]["ndcg@10"] > 0
