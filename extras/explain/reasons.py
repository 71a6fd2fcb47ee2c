"""One reason for an item: what lifts it most on the list of the channel that carried it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from data_exchange_center.fusion import RRF_K
from extras.explain.evidence import Evidence, Shares
from extras.explain.sentences import reason_sentence
from extras.explain.shapes import ChannelPlace, NamedItem, Reason, ReasonCode

_NAMED = 2  # events in a sentence


def reason(
    evidence: Evidence, places: Mapping[str, ChannelPlace], shares: Mapping[str, Shares], itemid: int, k: int
) -> Reason:
    """Why recall found an item. ``k``: its place among the candidates, which the shares are of.

    Of the channels that found it, the one that counts most in fusion tells. Its shares are compared with those of the
    mean candidate, as the part that all candidates have in common puts none before another.
    """
    name = _carrier(evidence, places)
    sums = shares.get(name) if name else None
    if sums is not None and (found := _of_shares(evidence, sums, k)):
        return found
    terms = _preferred(evidence, itemid)
    if name is None or sums is not None:
        return _reason("popular", values=terms)
    by_terms = {channel.name for channel in evidence.opened.manifest.recipe.recall.searched if channel.term_weight > 0}
    return _reason("terms", values=terms) if name in by_terms and terms else _reason("taste")


def popular() -> Reason:
    """Of an item on the popular list."""
    return _reason("popular")


def _carrier(evidence: Evidence, places: Mapping[str, ChannelPlace]) -> str | None:
    weights = {channel.name: channel.fusion_weight for channel in evidence.opened.manifest.recipe.recall.channels}
    counts = {name: weights[name] / (RRF_K + at.rank) for name, at in places.items() if at.rank}
    return max(counts, key=lambda name: counts[name]) if counts else None


def _preferred(evidence: Evidence, itemid: int) -> list[str]:
    """The user's preferred terms that the item has."""
    names = evidence.opened.spec.genres
    return [names[code - 1] for code in evidence.user.terms if evidence.opened.exact.has_term(itemid, code)]


def _of_shares(evidence: Evidence, shares: Shares, k: int) -> Reason | None:
    """None: popularity lifts it most."""
    everybody = shares.base + shares.popularity
    lifts = {
        "history": _lift(shares.events.sum(axis=1), k),
        "profile": _lift(shares.profile.sum(axis=1), k),
        "popular": _lift(everybody, k),
    }
    most = max(lifts, key=lambda part: lifts[part])
    events = shares.events[k] - shares.events.mean(axis=0)
    best = [n for n in np.argsort(-events, kind="stable").tolist() if n in evidence.events and shares.events[k, n] > 0]
    if most == "history" and best:
        positive = evidence.opened.manifest.dataset.positive_level
        liked = [n for n in best if evidence.user.history.ratings[n] > positive]
        code: ReasonCode = "liked" if liked else "rated"
        named = [evidence.named(int(evidence.user.history.itemids[n])) for n in (liked or best)[:_NAMED]]
        return _reason(code, items=named)
    fields = evidence.opened.manifest.dataset.profile
    if most == "profile":
        by_field = shares.profile[k] - shares.profile.mean(axis=0)
        return _reason("profile", values=[fields[n] for n in np.argsort(-by_field)[:_NAMED] if by_field[n] > 0])
    return None


def _lift(part: np.ndarray, k: int) -> float:
    return float(part[k] - part.mean())


def _reason(code: ReasonCode, items: list[NamedItem] | None = None, values: list[str] | None = None) -> Reason:
    items, values = items or [], values or []
    return Reason(code=code, items=items, values=values, sentence=reason_sentence(code, items, values))
