"""Readers of the exchange folder that several steps share, in the form that the pure functions take."""

from collections.abc import Sequence

import pandas as pd

from data_exchange_center import artifacts, release_parts, steps
from data_exchange_center.columns import Columns, Split
from data_exchange_center.settings import Settings
from offline.data.lists import Lists
from offline.data.sequences import Inputs, Sequences, make_inputs
from offline.data.split import holdout_sizes

PAST = (Split.TRAIN, Split.TEST, Split.RECORDED)
OF_THE_DATA_SET = (Split.TRAIN, Split.TEST, Split.HOLDOUT)


def read_inputs(settings: Settings, parts: Sequence[str] = PAST) -> Inputs:
    """Read what the models are fitted on. All users and items have a place, with events or without.

    Args:
        parts: values of `Split`; evaluation alone reads the held-out rows.

    Raises ArtifactError when a file is missing.
    """
    folder = settings.artifacts_dir
    users, items = artifacts.USERS.read(folder), artifacts.ITEMS.read(folder)
    ratings = artifacts.RATINGS.read(folder)
    return make_inputs(
        ratings[ratings[Columns.SPLIT].isin(parts)],
        users,
        items,
        release_parts.read_dataset(folder),
    )


def read_with_holdout(settings: Settings) -> Inputs:
    """Read the data set's own rows, held-out ones included, without feedback, most of which is later.

    Raises StepError when no rows are held out.
    """
    found = read_inputs(settings, OF_THE_DATA_SET)
    data = found.data
    if not holdout_sizes(found.dataset.holdout_now, data.lengths, data.newest).any():
        raise steps.StepError(
            "These artifacts are fitted on all events, so nothing is left to evaluate them on. Run `make offline` "
            "without final=1, and with a holdout in dataset.toml, for a fit that can be evaluated."
        )
    return found


def read_past_ratings(settings: Settings, columns: list[str]) -> pd.DataFrame:
    """All rows but the held-out ones, numbered from 0."""
    ratings = artifacts.RATINGS.read(settings.artifacts_dir, columns)
    return ratings[ratings[Columns.SPLIT].isin(PAST)].reset_index(drop=True)


def read_lists(settings: Settings, past: Sequences) -> Lists:
    """The lists that a ranker is trained on. Raises ArtifactError when they are missing."""
    found = artifacts.LISTS.read_arrow(settings.artifacts_dir)
    return Lists.of_table(found, past.user_numbers)
