"""What an answer was made of, from which it is explained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_exchange_center.channels import Shares
from extras.explain.shapes import NamedItem
from online.clients.redis import StoredUser
from online.recommend.release import Release
from online.recommend.types import Candidates, Ranked

Ids = NDArray[np.integer]
Places = NDArray[np.intp]  # on the ranked list, from 0


@dataclass(frozen=True, eq=False)
class Evidence:
    """One user's answer on its way.

    Attributes:
        user: as a request at ``timestamp`` (seconds) sees them.
        candidates: recall's, before those without features are left out.
    """

    opened: Release
    user: StoredUser
    timestamp: int
    candidates: Candidates
    ranked: Ranked

    def shares(self, itemids: Ids) -> Mapping[str, Shares]:
        """What each channel's scores of (k,) items consist of, of the channels whose scores are sums."""
        return self.opened.channels.shares(self.user.history, self.user.profile, self.timestamp, itemids)

    @cached_property
    def events(self) -> dict[int, dict[str, Any]]:
        """Position in the history, newest first -> what is told of an event whose item has a name."""
        history, levels = self.user.history, self.opened.manifest.dataset.levels
        return {
            n: {"itemid": item.own_id, "title": item.title, "rating": levels[rating - 1], "timestamp": time}
            for n, (itemid, rating, time) in enumerate(
                zip(history.itemids.tolist(), history.ratings.tolist(), history.times.tolist(), strict=True)
            )
            if (item := self.opened.catalogue.get(itemid)) is not None
        }

    def named(self, itemid: int) -> NamedItem:
        """An item of the catalogue."""
        item = self.opened.catalogue[itemid]
        return NamedItem(itemid=item.own_id, title=item.title)


def rank_on(ids: Ids, itemid: int) -> int | None:
    """From 1; None: it is not on the list."""
    at = np.flatnonzero(ids == itemid)
    return int(at[0]) + 1 if len(at) else None
