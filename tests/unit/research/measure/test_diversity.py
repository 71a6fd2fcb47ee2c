from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from research.measure.diversity import calibration_error


def test_calibration_is_the_divergence_of_the_shares() -> None:
    """Steck 2018, section 3: smoothed by a hundredth of the history's shares."""
    flags = np.array([[0, 0], [1, 0], [0, 1], [1, 1]], np.float64)
    history = sp.csr_matrix(np.array([[0, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0]], np.float64))
    found = calibration_error(np.array([[1, 0], [1, 0], [1, 2]]), history, flags)
    given = 0.99 * np.array([1, 0]) + 0.01 * np.array([0.5, 0.5])
    assert found[0] == pytest.approx(0, abs=1e-12)
    assert found[1] == pytest.approx((0.5 * np.log2(0.5 / given)).sum())
    assert np.isnan(found[2]), "of whom no history is known"
    both = calibration_error(np.array([[3, 0]] * 3), history, flags)
    assert both[1] == pytest.approx(0, abs=1e-12), "an item of two genres is half of each"
