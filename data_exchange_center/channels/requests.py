"""What a channel may know of a request: the user's events before it, the profile, and when it comes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Ints = NDArray[np.integer]

BREAK_S: Final = 3600  # a request this long after the user's last event starts a new session
LONG_AGO_S: Final = 2 * 365 * 86_400  # ... and this long after it the clock tells a ranker nothing: the data is old
CONTINUES, RETURNS = 0, 1  # regimes


@dataclass(frozen=True, eq=False)
class Requests:
    """m requests. Item codes are 1..n in the order of the release's items; 0 is padding or an unknown item.

    Attributes:
        items: (m, n) codes of the user's newest events before the request, newest first, padded on the right.
        ratings: (m, n) rating codes of these events, 0 where padded.
        times: (m, n) seconds of these events, 0 where padded.
        lengths: (m,) how many events there are, up to n.
        profiles: (m, fields) profile codes; 0 is an unknown value.
        timestamps: (m,) seconds of the requests.
        stored: channel name -> (m, d) vectors that are stored for these users; NaN for a user without one.
    """

    items: Ints
    ratings: Ints
    times: Ints
    lengths: Ints
    profiles: Ints
    timestamps: Ints
    stored: Mapping[str, Float32] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.timestamps)

    @cached_property
    def regimes(self) -> NDArray[np.int64]:
        """(m,) CONTINUES or RETURNS."""
        last = self.times[:, 0] if self.times.shape[1] else np.zeros(len(self), np.int64)
        return regimes(self.timestamps, last, self.lengths > 0)


def regimes(request_times: Ints, last_times: Ints, has_history: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(m,) seconds of request and of the last event -> (m,) CONTINUES or RETURNS. No history: CONTINUES."""
    returns = (np.asarray(request_times) - np.asarray(last_times) >= BREAK_S) & has_history
    return np.where(returns, RETURNS, CONTINUES)
