"""A feature of your own: the days since the user's first event.

Stores cannot hold days that grow until the request comes, so they hold the moment, and the column is an
`ElapsedFeature`. The parity check counts it a second time, in another way. pyproject.toml next to it declares it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from data_exchange_center.columns import Columns
from data_exchange_center.features import NEVER, ElapsedFeature
from data_exchange_center.recipes import DEFAULT, ListRankerRecipe
from offline.data.sequences import Ints, Sequences
from offline.data.statistics import UserStatistic

if TYPE_CHECKING:
    from offline_to_online.recount import ServedRatings


def first_event(events: Sequences, users: Ints, counts: Ints) -> Ints:
    """Time of each user's first event, (m,) seconds; `NEVER` before it. ``counts``: (m,) events that have happened."""
    moments, begun = np.full(len(users), NEVER), counts > 0
    moments[begun] = events.times[events.starts[users[begun]]]
    return moments


def first_event_again(served: ServedRatings) -> pd.Series:
    """Recompute it for the parity check: each user's smallest time in the table of ratings."""
    times = served.ratings.groupby(Columns.USER)[Columns.TIMESTAMP].min()
    return times.reindex(served.ids, fill_value=NEVER)


DAYS = ElapsedFeature(name="first_event", entity="user", scale=5.0, transform="log1p")
FIRST_EVENT = UserStatistic(DAYS, first_event, first_event_again)
RECIPE = DEFAULT.model_copy(
    update={"name": "first", "ranker": ListRankerRecipe(statistics=("first_event",))}
)

if __name__ == "__main__":
    print(RECIPE.model_dump_json(indent=2))
