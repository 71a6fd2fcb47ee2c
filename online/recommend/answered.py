"""What an answer is made of, and how it is shown."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data_exchange_center.fusion import Hits
from data_exchange_center.own_ids import OwnId
from online.clients.elastic import CatalogueItem
from online.clients.redis import StoredUser
from online.explain.evidence import Evidence
from online.explain.explain import popular_explained
from online.explain.places import diversified, place
from online.explain.shapes import Explanation
from online.recommend.open_release import OpenRelease
from online.recommend.services import Turn
from online.recommend.types import FUSED, Candidates, Degraded, Ranked

Shown = tuple[tuple[int, float, CatalogueItem], ...]  # itemid, score, what is shown of it; in the answer's order


@dataclass(frozen=True, slots=True, eq=False)
class Answered:
    """What an answer is made of; without a user and candidates where it is the popular list."""

    opened: OpenRelease
    user: StoredUser | None
    candidates: Candidates | None
    ranked: Ranked
    lacking: tuple[Degraded, ...]

    def evidence(self, turn: Turn) -> Evidence | None:
        if self.user is None or self.candidates is None:
            return None
        user = self.opened.current(self.user, turn.request.before)
        return Evidence(self.opened, user, turn.request.timestamp, self.candidates, self.ranked)

    def shown(self, size: int) -> Shown:
        return shown(self.opened, self.ranked, size)

    def recalled(self) -> dict[str, list[OwnId]]:
        """What each channel found, and all of them together, by the items' own ids."""
        lists = self.candidates.lists() if self.candidates is not None else {FUSED: []}
        catalogue = self.opened.catalogue
        return {
            name: [catalogue[itemid].own_id for itemid in ids if itemid in catalogue] for name, ids in lists.items()
        }


def popular(opened: OpenRelease) -> Ranked:
    """A release's popular list."""
    return Ranked(opened.popular.ids, opened.popular.scores)


def shown(opened: OpenRelease, ranked: Ranked, size: int) -> Shown:
    """The first ``size`` of a list."""
    places = ranked.shown(size)
    pairs = zip(ranked.itemids[places].tolist(), ranked.scores[places].tolist(), strict=True)
    return tuple((itemid, score, opened.catalogue[itemid]) for itemid, score in pairs)


def explained_as_popular(items: Shown, ranked: Ranked | None = None) -> list[Explanation]:
    """``ranked``: the popular list that they were chosen from; they are a list of their own where its order is kept."""
    whole = Ranked(np.array([itemid for itemid, *_ in items]), np.array([score for _, score, _ in items]))
    if ranked is not None and ranked.order is not None:
        whole = ranked
    listed = Hits(whole.itemids, whole.scores)
    return popular_explained(
        (item.own_id, place(listed, itemid), diversified(whole, itemid)) for itemid, _, item in items
    )
