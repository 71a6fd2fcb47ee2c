"""The values of events as codes of a few levels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

MOST_LEVELS: Final = 10  # a model has a weight for each


@dataclass(frozen=True, eq=False)
class Levels:
    """``codes`` (events,) int8 from 1; the value of code c is ``values[c - 1]``; codes above ``positive`` are liked.

    ``binned``: a code is of an interval of values.
    """

    codes: NDArray[np.int8]
    values: tuple[float, ...]
    positive: int
    binned: bool = False

    @classmethod
    def without_values(cls, events: int) -> Levels:
        """Implicit feedback: one level, and it is liked."""
        return cls(np.ones(events, dtype=np.int8), (1.0,), 0)

    @classmethod
    def of(cls, values: NDArray[np.float64], positive_above: float, declared: Sequence[float] = ()) -> Levels:
        """A level for each value, or for each that is declared.

        Where there are more than `MOST_LEVELS`, one for each of as many intervals, cut at quantiles of the values that
        are liked and of those that are not; its value is the interval's median.
        """
        distinct = np.unique(declared or values)
        if len(distinct) <= MOST_LEVELS:
            codes = np.searchsorted(distinct, values) + 1
            return cls(codes.astype(np.int8), tuple(distinct.tolist()), int((distinct <= positive_above).sum()))
        parts = values[values <= positive_above], values[values > positive_above]
        between = [positive_above] if all(map(len, parts)) else []
        edges = np.unique(np.concatenate([_cuts(parts[0]), between, _cuts(parts[1])]))
        found, codes = np.unique(np.searchsorted(edges, values, side="left"), return_inverse=True)
        medians = [float(np.median(values[codes == code])) for code in range(len(found))]
        return cls((codes + 1).astype(np.int8), tuple(medians), sum(value <= positive_above for value in medians), True)


def _cuts(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The inner edges of half of `MOST_LEVELS` intervals that hold equally many of the values; each edge belongs to
    the interval below it."""
    distinct, n = np.unique(values), MOST_LEVELS // 2
    if len(distinct) <= n:
        return distinct[:-1] if len(distinct) else distinct
    edges: NDArray[np.float64] = np.quantile(values, np.linspace(0, 1, n + 1)[1:-1], method="lower")
    inner: NDArray[np.float64] = edges[edges < distinct[-1]]
    return inner
