"""Users of a measurement: all, or a number of them, drawn at random with a fixed seed."""

from __future__ import annotations

import argparse
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data_exchange_center.steps import StepError

SEED: Final = 0


def parse_users(parser: argparse.ArgumentParser, usual: int | None = None) -> int | None:
    """Number of users that the command line names, or ``usual``; None: all. Raises StepError for what is no number."""
    parser.add_argument(
        "--users", default=usual or "all", help="how many, drawn at random, or all; default: %(default)s"
    )
    users = str(parser.parse_args().users)
    if users == "all":
        return None
    if not (users.isascii() and users.isdecimal() and int(users)):
        raise StepError(f"users={users} is no number of users.", "Name at least 1, or all.")
    return int(users)


def sample(n_users: int, size: int | None) -> NDArray[np.intp]:
    """Rows of ``size`` users, ascending, drawn with the fixed seed; of all users where there are no more than that."""
    if size is None or size >= n_users:
        return np.arange(n_users)
    return np.sort(np.random.default_rng(SEED).choice(n_users, size, replace=False))
