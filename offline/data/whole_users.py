"""What is computed of users: functions of the rows of whole users, and counts that add up over users.

Such a function says of a user what follows from the user's own rows, sorted as they are stored, so it may be called
with everybody, as pandas does, or with a few users after the other, as the tasks of a cluster do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa

from data_exchange_center.columns import Columns

OfUsers: TypeAlias = Callable[[pd.DataFrame], pd.DataFrame]  # rows of whole users -> a table
Keys: TypeAlias = Mapping[str, pa.DataType]  # columns that counts are counted by
USERS: Final = "users"  # the column of counts: of how many users a row is true


def added_up(counts: pd.DataFrame, keys: Keys) -> pd.DataFrame:
    """Counts of some users and others -> of all of them: the keys, ascending, and `USERS`."""
    total: pd.DataFrame = counts.groupby(list(keys))[USERS].sum().astype(np.int64).reset_index()
    return total.astype({name: kind.to_pandas_dtype() for name, kind in keys.items()})


def for_everybody(made: pd.DataFrame, users: pd.Series, columns: Mapping[str, pa.DataType]) -> pd.DataFrame:
    """A row for each of ``users``: zeros for one who is not in ``made``, and empty lists where ``columns`` says so."""
    rows = made.set_index(Columns.USER).reindex(pd.Index(users, name=Columns.USER), fill_value=0)
    for name, kind in columns.items():
        if name in rows and pa.types.is_list(kind):
            there = rows[name].map(pd.api.types.is_list_like)
            rows[name] = [each if is_there else [] for each, is_there in zip(rows[name], there, strict=True)]
    return rows.reset_index()
