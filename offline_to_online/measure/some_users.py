"""Of which users a measurement is: of all, or of so many, drawn at random with a fixed seed."""

from __future__ import annotations

import argparse
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data_exchange_center.steps import StepError

SEED: Final = 0


def parse_users(parser: argparse.ArgumentParser) -> int | None:
    """How many users the command line names; None: all. Raises StepError for what is no number of users."""
    parser.add_argument("--users", type=int, help="how many, drawn at random; default: all")
    size: int | None = parser.parse_args().users
    if size is not None and size < 1:
        raise StepError(f"users={size} is no number of users.", "Name at least 1, or leave it out for all.")
    return size


def sample(n_users: int, size: int | None) -> NDArray[np.intp]:
    """Rows of ``size`` users, ascending, drawn with the fixed seed; of all users where there are no more than that."""
    if size is None or size >= n_users:
        return np.arange(n_users)
    return np.sort(np.random.default_rng(SEED).choice(n_users, size, replace=False))
