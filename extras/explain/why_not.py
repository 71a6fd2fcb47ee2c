"""Why an item is not in a user's list: which stage it was lost at, and by what."""

from __future__ import annotations

import numpy as np

from data_exchange_center.dataset import OwnId
from data_exchange_center.fusion import Hits
from extras.explain.effects import effects
from extras.explain.evidence import Evidence
from extras.explain.explain import Scorer
from extras.explain.places import channel_places, diversified, place
from extras.explain.sentences import why_not_sentence
from extras.explain.shapes import Effects, NamedItem, Place, Standing, WhyNot, WhyNotCode
from online.recommend.recall import channel_lists, fused_lists
from online.recommend.release import Release
from online.recommend.types import Ranked


def itemid_of(opened: Release, own_id: OwnId) -> int | None:
    """The number of an item; None: the release has no such item."""
    return opened.numbers.get(own_id)


def why_not(scorer: Scorer, evidence: Evidence, userid: OwnId, itemid: int, size: int) -> WhyNot:
    """Of an item in the catalogue, for a known user and a list of ``size``. Raises ServiceError."""
    opened, candidates = evidence.opened, evidence.candidates
    if itemid in evidence.user.seen:
        return _told(opened, userid, evidence.named(itemid), "seen", Standing(size=size))
    recipe = opened.manifest.recipe.recall
    everything = sum(len(found.ids) for found in candidates.by_channel.values())
    fused = fused_lists(recipe, candidates.by_channel, everything)
    ranked = place(Hits(evidence.ranked.itemids, evidence.ranked.scores), itemid)
    standing = Standing(
        size=size,
        channels=channel_places(evidence, full_lists(evidence), evidence.shares(np.array([itemid])), itemid, 0),
        cut=recipe.candidates,
        fused=place(Hits(fused.ids, fused.scores), itemid),
        ranked=ranked,
        diversified=diversified(evidence.ranked, itemid),
        effects=_effects(scorer, evidence, ranked, size),
    )
    return _told(opened, userid, evidence.named(itemid), _code(evidence, standing, itemid), standing)


def _told(opened: Release, userid: OwnId, item: NamedItem, code: WhyNotCode, standing: Standing) -> WhyNot:
    said = why_not_sentence(code, standing)
    return WhyNot(
        userid=userid, release=opened.release, code=code, sentence=said, **item.model_dump(), **dict(standing)
    )


def full_lists(evidence: Evidence) -> dict[str, Hits]:
    """All unseen items by each channel, by exact search over the server's own copy of the vectors."""
    opened = evidence.opened
    return channel_lists(
        opened.exact, opened.manifest, opened.channels, evidence.user, evidence.timestamp, len(opened.catalogue)
    )


def for_a_stranger(opened: Release, ranked: Ranked, userid: OwnId, itemid: int, size: int) -> WhyNot:
    """For a user that the release does not know: the popular list, ``ranked``, answers."""
    item, at = opened.catalogue[itemid], place(Hits(ranked.itemids, ranked.scores), itemid)
    standing = Standing(size=size, ranked=at, diversified=diversified(ranked, itemid))
    named = NamedItem(itemid=item.own_id, title=item.title)
    return _told(opened, userid, named, "in_the_list" if standing.shown else "unknown_user", standing)


def of_no_item(opened: Release, userid: OwnId, itemid: OwnId, size: int) -> WhyNot:
    """Of something that the release does not have."""
    return _told(opened, userid, NamedItem(itemid=itemid, title=""), "unknown_item", Standing(size=size))


def _code(evidence: Evidence, standing: Standing, itemid: int) -> WhyNotCode:
    if standing.ranked and standing.ranked.rank:
        if standing.shown:
            return "in_the_list"
        return "too_alike" if standing.ranked.within(standing.size) else "ranked_below"
    if itemid in evidence.candidates.itemids:
        return "no_features"
    if standing.fused and standing.fused.rank:
        return "not_fused"
    found = any(at.rank for at in standing.channels.values())
    return "not_found" if found or evidence.opened.exact.has_vector(itemid) else "never_trained"


def _effects(scorer: Scorer, evidence: Evidence, ranked: Place, size: int) -> Effects | None:
    """Beside the items that are in the list; beside all where this one is."""
    if ranked.rank is None:
        return None
    shown = evidence.ranked.shown(size)
    at = np.array([ranked.rank - 1])
    found = effects(scorer, evidence, at, slice(None) if at in shown else shown)
    return found[0] if found else None
