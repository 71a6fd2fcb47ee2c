"""Straight lines through what was measured: a fixed cost, and one for each event."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.optimize import nnls


@dataclass(frozen=True)
class Line:
    """cost = fixed + each * events, with neither below zero.

    ``off``: the largest distance of a measurement from the line, as a share of the measurement; ``exponent``: of the
    power law between the two largest sizes, 1 where a cost grows as its data does; None with one size.
    """

    fixed: float
    each: float
    off: float
    exponent: float | None

    def at(self, events: float) -> float:
        return self.fixed + self.each * events

    def plain(self) -> dict[str, Any]:
        return asdict(self)


def line(events: Sequence[int], costs: Sequence[float]) -> Line:
    """The line with the least squares of *relative* distances: a small size counts as much as a large one.

    Raises ValueError for no measurement, or for one of nothing.
    """
    sizes, found = np.asarray(events, dtype=np.float64), np.asarray(costs, dtype=np.float64)
    if not len(sizes) or (found <= 0).any() or (sizes <= 0).any():
        raise ValueError(f"a line needs costs above zero of events above zero, found {costs} of {events}")
    (fixed, each), _ = nnls(np.stack([1 / found, sizes / found], axis=1), np.ones(len(found)))
    off = float(np.abs((fixed + each * sizes) / found - 1).max())
    exponent = None
    if len(set(sizes.tolist())) > 1:
        small, large = np.argsort(sizes)[-2:]
        exponent = float(np.log(found[large] / found[small]) / np.log(sizes[large] / sizes[small]))
    return Line(float(fixed), float(each), off, exponent)
