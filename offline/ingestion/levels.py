"""The values of events as codes of a few levels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

MOST_LEVELS: Final = 10  # a model has a weight for each


@dataclass(frozen=True, eq=False)
class Scale:
    """Which code a value gets.

    Attributes:
        values: the value of code c is ``values[c - 1]``.
        positive: codes above it are liked.
        binned: whether a code is of an interval of values.
        edges: of intervals, each belonging to the one below it; else the values themselves.
        found: of intervals, those that hold values, counted from 0; else all.
    """

    values: tuple[float, ...]
    positive: int
    binned: bool
    edges: NDArray[np.float64]
    found: NDArray[np.int64]

    @classmethod
    def without_values(cls) -> Scale:
        """Implicit feedback: one level, and it is liked."""
        return cls((1.0,), 0, False, np.zeros(0), np.zeros(1, np.int64))

    @classmethod
    def of(
        cls,
        distinct: NDArray[np.float64],
        counts: NDArray[np.int64],
        positive_above: float,
        declared: Sequence[float] = (),
    ) -> Scale:
        """A level for each value, or for each that is declared.

        Where there are more than `MOST_LEVELS`, one for each of as many intervals, cut at quantiles of the values that
        are liked and of those that are not; its value is the interval's median.

        Args:
            distinct: the values that there are, ascending.
            counts: how many events have each.
        """
        values = np.unique(declared) if len(declared) else distinct
        if len(values) <= MOST_LEVELS:
            positive = int((values <= positive_above).sum())
            return cls(tuple(values.tolist()), positive, False, values, np.arange(len(values)))
        low = distinct <= positive_above
        between = [positive_above] if low.any() and not low.all() else []
        edges = np.unique(
            np.concatenate([_cuts(distinct[low], counts[low]), between, _cuts(distinct[~low], counts[~low])])
        )
        found, cells = np.unique(np.searchsorted(edges, distinct, side="left"), return_inverse=True)
        medians = [_median(distinct[cells == cell], counts[cells == cell]) for cell in range(len(found))]
        return cls(tuple(medians), sum(value <= positive_above for value in medians), True, edges, found)

    def codes(self, values: NDArray[np.float64]) -> NDArray[np.int8]:
        """(events,) values -> codes, from 1; without values (any array) all are 1."""
        if not len(self.edges):
            return np.ones(len(values), dtype=np.int8)
        cells = np.searchsorted(self.edges, values, side="left")
        return (np.searchsorted(self.found, cells) + 1).astype(np.int8)


def _cuts(distinct: NDArray[np.float64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """The inner edges of half of `MOST_LEVELS` intervals that hold equally many of the values; each edge belongs to
    the interval below it."""
    n = MOST_LEVELS // 2
    if len(distinct) <= n:
        return distinct[:-1]
    lower = np.floor(np.linspace(0, 1, n + 1)[1:-1] * (counts.sum() - 1))
    edges = distinct[np.searchsorted(np.cumsum(counts), lower, side="right")]
    inner: NDArray[np.float64] = edges[edges < distinct[-1]]
    return inner


def _median(distinct: NDArray[np.float64], counts: NDArray[np.int64]) -> float:
    n = int(counts.sum())
    low, high = np.searchsorted(np.cumsum(counts), [(n - 1) // 2, n // 2], side="right")
    return float((distinct[low] + distinct[high]) / 2)
