"""What a channel's score of an item is the sum of, so that an answer can say which events and which profile did it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Shares:
    """Of one request's scores of k items. All of them together are the scores.

    Attributes:
        base: (k,) what every user would get.
        popularity: (k,) of the item alone.
        profile: (k, fields) in the order of `Dataset.profile`; no fields where the channel does not look at them.
        events: (k, n) of the user's newest events, newest first.
    """

    base: Float64
    popularity: Float64
    profile: Float64
    events: Float64

    @property
    def scores(self) -> Float64:
        """(k,)."""
        total: Float64 = self.base + self.popularity + self.profile.sum(axis=1) + self.events.sum(axis=1)
        return total
