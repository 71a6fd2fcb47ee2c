"""Why each item of an answer is where it is."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from data_exchange_center.fusion import Hits
from data_exchange_center.own_ids import OwnId
from online.clients.base import Asks, ServiceError
from online.clients.triton import ScoreQuery
from online.explain import shapes
from online.explain.effects import effects
from online.explain.evidence import Evidence, Places
from online.explain.places import channel_places, diversified, place
from online.explain.reasons import popular, reason
from online.explain.shapes import Explanation, Place

Scorer = Asks[ScoreQuery, NDArray[np.float32]]


def explained(scorer: Scorer, evidence: Evidence, size: int, *, strict: bool) -> list[Explanation]:
    """The ``size`` items that are shown, in their order.

    A scorer that does not answer is done without: ``effects`` are null. ``strict``: raises its ServiceError.
    """
    candidates, ranked = evidence.candidates, evidence.ranked
    fused, order = Hits(candidates.itemids, candidates.scores), Hits(ranked.itemids, ranked.scores)
    shares, places = evidence.shares(candidates.itemids), ranked.shown(size)
    moved = _effects(scorer, evidence, places, strict)
    told = []
    for n, itemid in enumerate(ranked.itemids[places].tolist()):
        k = int(np.flatnonzero(candidates.itemids == itemid)[0])
        channels = channel_places(evidence, candidates.by_channel, shares, itemid, k)
        told.append(
            Explanation(
                itemid=evidence.opened.catalogue[itemid].own_id,
                reason=reason(evidence, channels, shares, itemid, k),
                channels=channels,
                fused=place(fused, itemid),
                ranked=place(order, itemid),
                diversified=diversified(ranked, itemid),
                effects=moved[n] if n < len(moved) else None,
            )
        )
    return told


def _effects(scorer: Scorer, evidence: Evidence, places: Places, strict: bool) -> list[shapes.Effects]:
    try:
        return effects(scorer, evidence, places, slice(None))
    except ServiceError:
        if strict:
            raise
        return []


def popular_explained(items: Iterable[tuple[OwnId, Place, Place | None]]) -> list[Explanation]:
    """Of a popular list: own id, place on it, and the place in the answer where that is not the same."""
    return [
        Explanation(
            itemid=own_id,
            reason=popular(),
            channels={},
            fused=Place(of=0),
            ranked=ranked,
            diversified=diversified,
        )
        for own_id, ranked, diversified in items
    ]
