from __future__ import annotations

import numpy as np
import pytest

from past_one_machine.synthesis.kronecker import coarse, copies

USERS = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2, 3])
ITEMS = np.array([0, 0, 1, 2, 0, 1, 2, 2, 3, 3])  # events of items: 3, 2, 3, 2


def batches(size: int) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(USERS[at : at + size], ITEMS[at : at + size]) for at in range(0, len(USERS), size)]


@pytest.mark.parametrize("size", [1, 3, 10])
def test_the_small_matrix_is_a_coarse_picture_of_the_data(size: int) -> None:
    """Items 0 and 2 are the popular half; users 0 and 1 choose more of it than users 2 and 3."""
    assert coarse(lambda: batches(size), 2, 2) == pytest.approx(np.array([[5 / 7, 2 / 7], [1 / 3, 2 / 3]]))


def test_groups_without_users_do_what_all_do() -> None:
    found = coarse(lambda: batches(10), 6, 2)
    assert found[:4] == pytest.approx(np.array([[3 / 4, 1 / 4], [2 / 3, 1 / 3], [1 / 2, 1 / 2], [0, 1]]))
    assert found[4:] == pytest.approx(np.array([[0.6, 0.4]] * 2))


def test_copies_are_drawn_by_their_shares() -> None:
    drawn = copies(np.array([0.5, 0.0, 0.3, 0.2]), 100_000, np.random.default_rng(0))
    assert np.bincount(drawn, minlength=4) / 100_000 == pytest.approx([0.5, 0, 0.3, 0.2], abs=0.01)
    short = np.array([0.3, 0.3, 0.3])  # as if rounding had lost some
    assert copies(short, 10_000, np.random.default_rng(0)).max() == 2
