"""Columns for rating prediction from a user's earlier ratings, point in time.

A row is made of its user's events of an earlier second (as the genre statistics: an event of the same second may be
on the same page) and of models fitted on the training rows of *other* users. The models leave out the whole fold of the
user: their own ratings, the row's among them, are in no weight, for training rows as for test rows.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from data_exchange_center.progress import progress
from offline.data.sequences import Ints, Sequences
from research.experiments import neighbours
from research.experiments.neighbours import fit_neighbours, neighbour_columns
from research.experiments.rating_factors import expected_ratings, fit_factors

Float32 = NDArray[np.float32]

FACTOR_COLUMNS = ("expected", "expected_deviation")  # of the rating, in stars, by the factor model
COLUMNS = (*neighbours.COLUMNS, *FACTOR_COLUMNS)


def folds_of_users(n_users: int, folds: int, seed: int = 0) -> Ints:
    """(users,) the fold of every user."""
    fold: Ints = np.random.default_rng(seed).permutation(np.arange(n_users) % folds)
    return fold


def point_in_time(data: Sequences, trained: NDArray[np.bool_], folds: int = 6, seed: int = 0) -> Float32:
    """(events, `COLUMNS`) of every event. ``trained``: (events,) True for the rows that may be fitted on."""
    fold = folds_of_users(data.n_users, folds, seed)
    table = np.zeros((len(data.items), len(COLUMNS)), dtype=np.float32)
    with progress(total=data.n_users, desc="affinities", unit="user") as bar:
        for number in range(folds):
            others = data.select(trained & (fold != number)[data.users])
            near, factors = fit_neighbours(others), fit_factors(others)
            for user in np.flatnonzero(fold == number):
                own = slice(data.starts[user], data.starts[user + 1])
                items, ratings, times = data.items[own], data.ratings[own], data.times[own]
                if len(items):
                    columns = neighbour_columns(near, items, ratings, data.liked[own], times)
                    table[own] = np.column_stack([columns, *expected_ratings(factors, items, ratings, times)])
                bar.update()
    return table
