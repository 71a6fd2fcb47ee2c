"""The second count of `first_event`: what stands in `RECOUNTS` of offline_to_online/parity/recount.py."""

from __future__ import annotations

import pandas as pd

from data_exchange_center.columns import Columns
from data_exchange_center.feature_kinds import NEVER
from offline_to_online.parity.recount import Served


def first_event(served: Served) -> pd.Series:
    """In the table of ratings: each user's smallest time."""
    times = served.ratings.groupby(Columns.USER)[Columns.TIMESTAMP].min()
    return times.reindex(served.ids, fill_value=NEVER)
