"""Users made up for tests."""

from __future__ import annotations

import numpy as np

from data_exchange_center.history import History
from data_exchange_center.wire import vector_of
from offline_to_online.rows import UserRow

VECTOR = vector_of("fm")


def history_of(rated: list[tuple[int, int, int]]) -> History:
    return History(*np.asarray(rated, np.int64).reshape(-1, 3).T)


def row_of(
    userid: int,
    genres: list[int],
    vector: list[float] | None,
    seen: list[int],
    rated: list[tuple[int, int, int]] | None = None,
) -> UserRow:
    return UserRow(
        number=userid,
        own_id=userid,
        terms=tuple(genres),
        seen=np.asarray(seen, np.int32),
        profile=np.asarray([1, 2], np.int32),
        history=history_of(rated or []),
        vectors={} if vector is None else {VECTOR: np.asarray(vector, np.float32)},
    )
