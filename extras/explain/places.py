"""Where an item stands on the lists that its request made, and what the channels' scores consist of."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from data_exchange_center.fusion import Hits
from extras.explain import shapes
from extras.explain.evidence import Evidence, Shares, rank_on
from extras.explain.shapes import ChannelPlace, EventShare, Place
from online.recommend.types import Ranked

EVENTS = 5  # of the history that are told one by one, for each channel and for the ranker
_DIGITS = 7  # of a score or share: rounded, hundreds of them still add up within 1e-5


def rounded(score: float) -> float:
    return round(float(score), _DIGITS)


def place(found: Hits, itemid: int) -> Place:
    """On one list."""
    rank = rank_on(found.ids, itemid)
    score = None if rank is None else rounded(found.scores[rank - 1])
    return Place(rank=rank, score=score, of=len(found.ids))


def diversified(ranked: Ranked, itemid: int) -> Place | None:
    """In the order that is shown; None where that is the ranked list's own."""
    if ranked.order is None:
        return None
    ids = ranked.itemids[ranked.order]
    return Place(rank=rank_on(ids, itemid), of=len(ids))


def channel_places(
    evidence: Evidence, lists: Mapping[str, Hits], shares: Mapping[str, Shares], itemid: int, k: int
) -> dict[str, ChannelPlace]:
    """By channel, with the shares of those that found the item: it is the ``k``-th that ``shares`` are of."""
    places = {}
    for name, found in lists.items():
        at = place(found, itemid)
        told = told_shares(evidence, shares[name], k) if name in shares and at.rank else None
        places[name] = ChannelPlace(**at.model_dump(), shares=told)
    return places


def told_shares(evidence: Evidence, shares: Shares, k: int) -> shapes.Shares:
    """One item's shares, with the largest of its events by name."""
    events = shares.events[k]
    named = [n for n in np.argsort(-np.abs(events), kind="stable").tolist() if n in evidence.events and events[n]]
    largest = named[:EVENTS]
    told = [EventShare(**evidence.events[n], share=rounded(events[n])) for n in largest]
    fields = evidence.opened.manifest.dataset.profile
    return shapes.Shares(
        base=rounded(shares.base[k]),
        popularity=rounded(shares.popularity[k]),
        profile={name: rounded(share) for name, share in zip(fields, shares.profile[k], strict=False)},
        history=told,
        others=rounded(np.delete(events, largest).sum()),
    )
