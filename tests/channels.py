"""A recall channel of random tables."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from data_exchange_center.channels import Float32, HistorySum


def random_channel(
    name: str,
    random: np.random.Generator,
    trained: NDArray[np.bool_],
    dim: int,
    lags: int,
    *,
    fields: int = 2,
    profile: Sequence[int] = (),
) -> HistorySum:
    """A history sum.

    Args:
        trained: (items + 1,), as of `HistorySum`.
        profile: number of codes of each profile field.
    """

    def table(*shape: int) -> Float32:
        return random.normal(scale=0.5, size=shape).astype(np.float32)

    rows, rating_weight = table(fields, len(trained), dim), table(fields, 2, 6)
    rows[:, 0] = rating_weight[:, :, 0] = 0  # of padding
    return HistorySum(
        name,
        rows,
        table(fields, 2, lags),
        rating_weight,
        base=table(2, dim),
        items=table(len(trained), dim),
        bias=table(len(trained)),
        trained=trained,
        profile=tuple(table(codes, dim) for codes in profile),
    )
