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
from online.explain.evidence import Evidence
from online.explain.places import channel_places, place, rounded
from online.explain.reasons import popular, reason
from online.explain.shapes import Explanation, Place

Scorer = Asks[ScoreQuery, NDArray[np.float32]]


def explained(scorer: Scorer, evidence: Evidence, size: int, *, strict: bool) -> list[Explanation]:
    """The first ``size`` items of the ranked list, in its order.

    A scorer that does not answer is done without: ``effects`` are null. ``strict``: raises its ServiceError.
    """
    candidates, ranked = evidence.candidates, evidence.ranked
    fused, order = Hits(candidates.itemids, candidates.scores), Hits(ranked.itemids, ranked.scores)
    shares = evidence.shares(candidates.itemids)
    moved = _effects(scorer, evidence, size, strict)
    told = []
    for n, itemid in enumerate(ranked.itemids[:size].tolist()):
        k = int(np.flatnonzero(candidates.itemids == itemid)[0])
        channels = channel_places(evidence, candidates.by_channel, shares, itemid, k)
        told.append(
            Explanation(
                itemid=evidence.opened.catalogue[itemid].own_id,
                reason=reason(evidence, channels, shares, itemid, k),
                channels=channels,
                fused=place(fused, itemid),
                ranked=place(order, itemid),
                effects=moved[n] if n < len(moved) else None,
            )
        )
    return told


def _effects(scorer: Scorer, evidence: Evidence, size: int, strict: bool) -> list[shapes.Effects]:
    try:
        return effects(scorer, evidence, slice(size), slice(None))
    except ServiceError:
        if strict:
            raise
        return []


def popular_explained(items: Iterable[tuple[OwnId, float]]) -> list[Explanation]:
    """Of a popular list, (own id, score) best first."""
    listed = list(items)
    return [
        Explanation(
            itemid=own_id,
            reason=popular(),
            channels={},
            fused=Place(of=0),
            ranked=Place(rank=rank, score=rounded(score), of=len(listed)),
        )
        for rank, (own_id, score) in enumerate(listed, start=1)
    ]
