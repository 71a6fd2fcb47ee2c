"""Explain why an item is not in a user's list: the stage that it was lost at, and the reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import numpy as np

from data_exchange_center.dataset import OwnId
from data_exchange_center.fusion import Hits
from extras.explain.explain import Evidence, Scorer, channel_places, diversified, effects, joined, place
from extras.explain.shapes import ChannelPlace, NamedItem, Sentence, Standing, WhyNot, WhyNotCode
from online.recommend.recall import channel_lists, fused_lists
from online.recommend.release import Release
from online.recommend.types import Ranked

_AGAINST: Final = 2  # columns in a sentence


def why_not(scorer: Scorer, evidence: Evidence, userid: OwnId, itemid: int, size: int) -> WhyNot:
    """Explain where an item of the catalogue is, for a known user and a list of ``size``. Raises ServiceError."""
    opened, candidates = evidence.opened, evidence.candidates
    item = evidence.named(itemid)
    if itemid in evidence.user.seen:
        return _answer(opened, userid, item, "seen", Standing(size=size))
    recipe = opened.manifest.recipe.recall
    everything = sum(len(found.ids) for found in candidates.by_channel.values())
    fused = fused_lists(recipe, candidates.by_channel, everything)
    ranked = place(Hits(evidence.ranked.itemids, evidence.ranked.scores), itemid)
    moved = []
    if ranked.rank is not None:  # against the items in the list; against all where this one is among them
        at, shown = np.array([ranked.rank - 1]), evidence.ranked.shown(size)
        moved = effects(scorer, evidence, at, slice(None) if at in shown else shown)
    standing = Standing(
        size=size,
        channels=channel_places(evidence, _full_lists(evidence), evidence.shares(np.array([itemid])), itemid, 0),
        cut=recipe.candidates,
        fused=place(Hits(fused.ids, fused.scores), itemid),
        ranked=ranked,
        diversified=diversified(evidence.ranked, itemid),
        effects=moved[0] if moved else None,
    )
    return _answer(opened, userid, item, _code(evidence, standing, itemid), standing)


def for_a_stranger(opened: Release, ranked: Ranked, userid: OwnId, itemid: int, size: int) -> WhyNot:
    """Explain where an item is on the popular list, ``ranked``, which answers users that the release does not know."""
    item, at = opened.catalogue[itemid], place(Hits(ranked.itemids, ranked.scores), itemid)
    standing = Standing(size=size, ranked=at, diversified=diversified(ranked, itemid))
    code: WhyNotCode = "unknown_user"
    if standing.shown or at.within(size):
        code = "in_the_list" if standing.shown else "too_alike"
    return _answer(opened, userid, NamedItem(itemid=item.own_id, title=item.title), code, standing)


def of_no_item(opened: Release, userid: OwnId, itemid: OwnId, size: int) -> WhyNot:
    """Say that the release has no such item."""
    return _answer(opened, userid, NamedItem(itemid=itemid, title=""), "unknown_item", Standing(size=size))


def of_hidden(opened: Release, userid: OwnId, itemid: int, size: int) -> WhyNot:
    """Say that a rule hides the item."""
    item = opened.catalogue[itemid]
    named = NamedItem(itemid=item.own_id, title=item.title)
    return _answer(opened, userid, named, "hidden", Standing(size=size))


def _full_lists(evidence: Evidence) -> dict[str, Hits]:
    """All unseen items by each channel, by exact search over the server's own copy of the vectors.

    A search that counts preferred terms scores the items that have one, and the nearest others; the rest follows in
    the order of the vectors, without a score.
    """
    opened, size = evidence.opened, len(evidence.opened.catalogue)

    def lists(terms: tuple[int, ...]) -> dict[str, Hits]:
        user = replace(evidence.user, terms=terms)
        return channel_lists(opened.exact, opened.manifest, opened.channels, user, evidence.timestamp, size)

    found, by_vector = lists(tuple(evidence.user.terms)), lists(())
    for name, hits in found.items():
        rest = by_vector[name].ids[~np.isin(by_vector[name].ids, hits.ids)]
        scores = np.concatenate([hits.scores, np.full(len(rest), np.nan)])
        found[name] = Hits(np.concatenate([hits.ids, rest]), scores)
    return found


def _code(evidence: Evidence, standing: Standing, itemid: int) -> WhyNotCode:
    if standing.ranked and standing.ranked.rank:
        if standing.shown:
            return "in_the_list"
        return "too_alike" if standing.ranked.within(standing.size) else "ranked_below"
    if itemid in evidence.candidates.itemids:
        return "no_features"
    if standing.fused and standing.fused.rank:
        return "not_fused"
    if any(at.rank for at in standing.channels.values()):
        return "not_found"
    exact = evidence.opened.exact
    rows = np.flatnonzero(exact.itemids == itemid)  # none: too few are kept here to tell
    without = len(rows) and all(np.isnan(vectors[rows]).any() for vectors in exact.vectors.values())
    return "never_trained" if without else "not_found"


_SENTENCES: Final[dict[WhyNotCode, tuple[str, str]]] = {
    "in_the_list": ("It is number {place} of the list.", "它在列表中排第 {place} 位。"),
    "seen": ("The user has seen it; nothing is recommended twice.", "用户已经看过，看过的不再推荐。"),
    "unknown_user": (
        "Nothing is known of this user, so the popular list answers, and its first {size} do not include this item.",
        "对该用户一无所知，因此返回热门列表，而它不在前 {size} 位之中。",
    ),
    "hidden": ("A rule hides it from everybody (make rules).", "有规则对所有人隐藏了它（make rules）。"),
    "unknown_item": ("This release has no such item.", "当前版本没有这个物品。"),
    "never_trained": (
        "Nobody had rated it when the release was trained, so no channel can find it{en_terms}.",
        "训练这个版本时还没有人评过它，因此没有通道能{zh_terms}找到它。",
    ),
    "not_found": (
        "No channel has it among its first {cut}: {en_ranks}.",
        "它不在任何通道的前 {cut} 位之中：{zh_ranks}。",
    ),
    "not_fused": (
        "Channels found it ({en_ranks}), but of all that they found fusion keeps {cut}, and it is number {fused}.",
        "通道找到了它（{zh_ranks}），但融合只保留 {cut} 个，而它排第 {fused} 位。",
    ),
    "no_features": (
        "Recall found it, but the feature store holds nothing of it, so it cannot be ranked.",
        "召回找到了它，但特征库里没有它的特征，因此无法排序。",
    ),
    "ranked_below": (
        "It was found and ranked number {rank} of {of}; the list ends at {size}.{en_against}",
        "它被找到并排在 {of} 个中的第 {rank} 位，而列表只到第 {size} 位。{zh_against}",
    ),
    "too_alike": (
        "It was ranked number {rank} of {of}, but it is too much like others of the list, which is made diverse.",
        "它排在 {of} 个中的第 {rank} 位，但与列表中别的物品太相似，而列表要求多样。",
    ),
}


def _answer(opened: Release, userid: OwnId, item: NamedItem, code: WhyNotCode, standing: Standing) -> WhyNot:
    sentence = _sentence(opened, code, standing)
    return WhyNot(
        userid=userid, release=opened.release, code=code, sentence=sentence, **item.model_dump(), **dict(standing)
    )


def _sentence(opened: Release, code: WhyNotCode, found: Standing) -> Sentence:
    en, zh = _SENTENCES[code]
    against = [moved.column for moved in found.effects.columns if moved.effect < 0] if found.effects else []
    by_terms = any(channel.term_weight > 0 for channel in opened.manifest.recipe.recall.searched)
    numbers = {
        "size": found.size,
        "cut": found.cut,
        "rank": found.ranked.rank if found.ranked else None,
        "of": found.ranked.of if found.ranked else None,
        "place": found.place.rank if found.place else None,
        "fused": found.fused.rank if found.fused else None,
        "en_ranks": _ranks(found.channels, "{rank} by {name}", "nowhere by {name}", ", "),
        "zh_ranks": _ranks(found.channels, "{name} 第 {rank} 位", "{name} 没有它", "，"),
        "en_terms": " for a user who prefers none of its kinds" if by_terms else "",
        "zh_terms": "为不偏好其类型的用户" if by_terms else "",
        "en_against": f" Most against it: {joined(against[:_AGAINST])}." if against else "",
        "zh_against": f"最不利的是 {'、'.join(against[:_AGAINST])}。" if against else "",
    }
    return Sentence(en=en.format_map(numbers), zh=zh.format_map(numbers))


def _ranks(channels: Mapping[str, ChannelPlace], there: str, nowhere: str, between: str) -> str:
    names = [(there if at.rank else nowhere).format(name=name, rank=at.rank) for name, at in channels.items()]
    return between.join(names)
