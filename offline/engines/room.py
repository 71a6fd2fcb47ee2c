"""Whether pandas has room for a data set, said before any of it is read.

What the steps of an engine hold at once is in proportion to the events: `EVENT_BYTES` is the largest slope of their
peak memory over the events, rounded up. It was read off term recall, on MovieLens-1M and its expansions by 4 and by 16;
`make bench-scale` measures it.
"""

from __future__ import annotations

import math
from typing import Final

from data_exchange_center.steps import StepError
from offline.ingestion.events import MOST
from offline.ingestion.tables import Rows

EVENT_BYTES: Final = 250


def expect_room(events: Rows, memory_gb: float) -> None:
    """Raise StepError where the events would take more than ``memory_gb`` (of 1e9 bytes)."""
    rows = events.about()
    needed = rows * EVENT_BYTES / 1e9
    if needed > memory_gb:
        or_memory = (
            "; or, where there is more memory than that, say how much with "
            f"RECSYS_PANDAS__MEMORY_GB={math.ceil(needed)}"
        )
        raise StepError(
            f"{events.name} holds about {rows:,} events, for which pandas takes about {needed:,.1f} GB of memory "
            f"({EVENT_BYTES} bytes an event), and there are {memory_gb:,.1f} GB",
            "Compute with RECSYS_ENGINE=spark, which `make spark` installs"
            f"{or_memory if rows <= MOST else ''}.",  # beyond that pandas refuses whatever memory there is
        )
