"""As of a second: a request at second t sees what happened strictly before t.

Times are whole seconds, and people rate several films of one page within the same second; the order in which a file
holds these does not say which came first. So nothing sees its own second: no training point, no statistic of a
rating, no holdout, no history in an answer of the server to a request that names its time. One that names none sees
whatever was acknowledged before it, of its own second too: there the order is known. Statistics that are stored for
serving (`n_ratings`) are the other exception: they are of the whole past.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.integer]


def happened(times: Ints, second: int | Ints) -> NDArray[np.bool_]:
    """Mask of ``times`` (seconds, any shape): True where a request at ``second`` sees the event."""
    seen: NDArray[np.bool_] = np.asarray(times) < second
    return seen


def first_of_second(users: Ints, times: Ints) -> NDArray[np.int64]:
    """(n,) events sorted by user and time -> (n,) the first event of the same user and second.

    A request at the event's time sees the user's events before that one.
    """
    begins = np.ones(len(users), dtype=np.bool_)
    begins[1:] = (users[1:] != users[:-1]) | (times[1:] != times[:-1])
    first: NDArray[np.int64] = np.maximum.accumulate(np.where(begins, np.arange(len(users)), 0))
    return first
