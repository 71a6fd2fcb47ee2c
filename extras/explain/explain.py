"""Why each item of an answer is where it is."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from data_exchange_center.fusion import Hits
from extras.explain import shapes
from extras.explain.effects import effects
from extras.explain.evidence import Evidence, Places
from extras.explain.places import channel_places, diversified, place, rounded
from extras.explain.reasons import popular, reason
from extras.explain.shapes import Explanation, Place
from online.clients.base import Asks, ServiceError
from online.clients.triton import ScoreQuery
from online.recommend.recommend import Slate

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


def explained_as_popular(slate: Slate) -> list[Explanation]:
    """The items of a popular list; what is shown is a list of its own where its order is kept."""
    ranked, items, size = slate.ranked, slate.items, slate.turn.request.size
    places: list[tuple[Place, Place | None]]
    if slate.opened is None or ranked.order is None:
        places = [(Place(rank=n, score=rounded(item.score), of=len(items)), None) for n, item in enumerate(items, 1)]
    else:
        whole = Hits(ranked.itemids, ranked.scores)
        shown = ranked.itemids[ranked.shown(size)].tolist()
        places = [(place(whole, itemid), diversified(ranked, itemid)) for itemid in shown]
    return [
        Explanation(
            itemid=item.itemid,
            reason=popular(),
            channels={},
            fused=Place(of=0),
            ranked=ranked_at,
            diversified=shown_at,
        )
        for item, (ranked_at, shown_at) in zip(items, places, strict=True)
    ]
