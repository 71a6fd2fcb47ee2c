"""Labels, and who may see which row."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_exchange_center.columns import Columns, Split
from data_exchange_center.dataset import Dataset


def label_and_split(
    ratings: pd.DataFrame, dataset: Dataset, train_share: float, recorded: NDArray[np.bool_] | None = None
) -> pd.DataFrame:
    """Ratings in file order -> sorted by user and time (ties in file order), with `label` and `split`.

    The last rows of every user are held out, as many as the data set's rule says; row k (from 0) of the m others is
    train where k < train_share * m, else test. A user with no more rows than that is held out as a whole.

    Args:
        recorded: (rows,) those that came from servers: never held out, and not counted by the rule; None: none.
    """
    feedback = np.zeros(len(ratings), np.bool_) if recorded is None else recorded
    frame = ratings.assign(**{Columns.SPLIT: np.where(feedback, Split.RECORDED, "")})
    frame = frame.sort_values([Columns.USER, Columns.TIMESTAMP], kind="stable", ignore_index=True)
    own = (frame[Columns.SPLIT] != Split.RECORDED).to_numpy()
    position, size = positions(frame.loc[own, Columns.USER])
    frame.loc[own, Columns.SPLIT] = part_of(position, size, dataset, train_share)
    frame.insert(len(frame.columns) - 1, Columns.LABEL, labels(frame[Columns.RATING].to_numpy(), dataset))
    return frame


def labels(ratings: NDArray[np.int8], dataset: Dataset) -> NDArray[np.int8]:
    """(rows,) 1 where a rating's code is liked, else 0."""
    return (ratings > dataset.positive_level).astype(np.int8)


def part_of(
    position: NDArray[np.int64], size: NDArray[np.int64], dataset: Dataset, train_share: float
) -> NDArray[np.str_]:
    """(rows,) a value of `Split` for rows at a position (from 0) among their user's ``size`` rows in time."""
    offline = size - dataset.holdout.sizes(size)
    split = np.where(trains(position, offline, train_share), Split.TRAIN, Split.TEST)
    return np.where(position >= offline, Split.HOLDOUT, split)


def trains(position: NDArray[np.int64], size: NDArray[np.int64], share: float) -> NDArray[np.bool_]:
    """Whether a row trains: it is among the first ``share`` of its user's ``size`` rows before the held-out ones."""
    first: NDArray[np.bool_] = position < share * size
    return first


def validation_mask(users: pd.Series, share: float) -> NDArray[np.bool_]:
    """True for the last ``share`` (rounded down) of every user's rows. ``users``: userids of the training rows,
    sorted as `label_and_split` leaves them."""
    position, size = positions(users)
    held_out: NDArray[np.bool_] = position >= size - np.floor(size * share)
    return held_out


def positions(users: pd.Series) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Position of every row among its user's rows, from 0, and their number. ``users`` is sorted."""
    ids = users.to_numpy()
    starts = np.flatnonzero(np.r_[True, ids[1:] != ids[:-1]]) if len(ids) else np.array([], dtype=np.int64)
    sizes = np.diff(np.r_[starts, len(ids)])
    return np.arange(len(ids)) - np.repeat(starts, sizes), np.repeat(sizes, sizes)
