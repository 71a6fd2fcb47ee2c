from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from offline.evaluation import metrics, replay
from offline.evaluation.baselines import popular_lists
from research.measure.list_diversity import NDCG, Kinds, lost, measures, summary
from tests.unit.offline.evaluation.made_up import LAST_FOUR, N_ITEMS, made_up

HOLDOUT = replay.hold_out(made_up(), LAST_FOUR)


def kinds() -> Kinds:
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(N_ITEMS + 1, 6)).astype(np.float32)
    vectors[[0, 3]] = np.nan
    flags = (rng.random((N_ITEMS + 1, 3)) < 0.5).astype(np.float32)
    flags[0] = 0
    return Kinds({"one": vectors}, flags)


def test_a_list_is_judged_by_what_was_liked_and_by_what_is_shown() -> None:
    lists = popular_lists(HOLDOUT, N_ITEMS)
    found = measures(HOLDOUT, lists, kinds())
    np.testing.assert_array_equal(found[NDCG], metrics.ndcg(HOLDOUT.judged(lists), HOLDOUT.relevance, 50))
    flags = kinds().flags.astype(np.float64)
    np.testing.assert_allclose(found["diversity by genres"], metrics.diversity(lists, flags), rtol=1e-6)
    both = metrics.diversity(lists, kinds().rows().astype(np.float64))
    assert np.isfinite(both).all()
    np.testing.assert_array_equal(found["novelty"], metrics.novelty(lists, HOLDOUT.popularity))


def test_users_who_are_not_asked_for_are_in_no_mean() -> None:
    lists = popular_lists(HOLDOUT, N_ITEMS)
    lists[1] = 0
    found = measures(HOLDOUT, lists, kinds())
    assert all(np.isnan(values[1]) for values in found.values())
    row = summary(HOLDOUT, lists, kinds(), found)
    assert row["novelty"]["users"] == 3
    assert row["change"]["difference"] == 0


def test_the_cost_is_a_share_of_the_ndcg() -> None:
    first, other = {NDCG: {"mean": 0.4}}, {NDCG: {"mean": 0.39}}
    assert lost(other, first) == pytest.approx(0.025)


def test_calibration_is_the_divergence_of_the_shares() -> None:
    """Steck 2018: 70 % romance and 30 % action, of which the list has 50 % and 50 %."""
    flags = np.array([[0, 0], [1, 0], [0, 1], [1, 1]], np.float64)
    history = sp.csr_matrix(np.array([[0, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0]], np.float64))
    lists = np.array([[1, 0], [1, 0], [1, 2]])
    found = metrics.calibration_error(lists, history, flags)
    given = 0.99 * np.array([1, 0]) + 0.01 * np.array([0.5, 0.5])
    assert found[0] == pytest.approx(0, abs=1e-12)
    assert found[1] == pytest.approx((0.5 * np.log2(0.5 / given)).sum())
    assert np.isnan(found[2]), "of whom no history is known"
    both = metrics.calibration_error(np.array([[3, 0]] * 3), history, flags)
    assert both[1] == pytest.approx(0, abs=1e-12), "an item of two genres is half of each"
