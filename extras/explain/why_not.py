"""Explain why an item is not in a user's list: the stage that it was lost at, and the reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from data_exchange_center.candidates import fused_lists
from data_exchange_center.dataset import OwnId
from extras.explain.explain import (
    Evidence,
    Scorer,
    channel_places,
    diversified,
    effects,
    joined,
    place,
)
from extras.explain.shapes import ChannelPlace, Sentence, WhyNot, WhyNotCode
from online.recommend.loaded_release import Release
from online.recommend.recall import search_channels
from online.recommend.types import Slate
from online.web.parts import InOrder

_AGAINST: Final = 2  # columns in a sentence


def why_not(
    scorer: Scorer, slate: Slate, opened: Release, own_id: OwnId, in_order: InOrder
) -> WhyNot:
    """Explain where an item is lost on the way to a list, or that it is on it. Raises ServiceError.

    ``opened``: the slate's; ``in_order``: as of `Parts`.
    """
    size, itemid = slate.request.size, opened.numbers.get(own_id)

    def answer(code: WhyNotCode, **found: Any) -> WhyNot:
        result = WhyNot(
            userid=slate.request.userid,
            itemid=own_id,
            title="" if itemid is None else opened.catalogue[itemid].title,
            release=opened.release,
            size=size,
            code=code,
            sentence=Sentence(en="", zh=""),
            **found,
        )
        result.sentence = _sentence(result)
        return result

    if itemid is None:
        return answer("unknown_item")
    if not len(in_order(opened, np.array([itemid]))):
        return answer("hidden")
    ranked = place(slate.ranked, itemid)
    moved = diversified(slate.ranked, itemid)
    best = slate.ranked.shown(size)
    among_first: WhyNotCode | None = None
    if itemid in slate.ranked.item_numbers[best]:
        among_first = "in_the_list"
    elif ranked.rank and ranked.rank <= size:
        among_first = "too_alike"
    evidence = Evidence.of(slate)
    if evidence is None:  # the popular list
        return answer(among_first or "unknown_user", ranked=ranked, diversified=moved)
    if itemid in evidence.user.seen:
        return answer("seen")

    # its rank by every channel, however far down, and in the fusion of all that they found
    recall, by_channel = opened.manifest.recipe.recall, evidence.candidates.by_channel
    size_of_all = sum(len(found.ids) for found in by_channel.values())
    fused = place(fused_lists(recall, by_channel, size_of_all), itemid)
    shares = evidence.shares(np.array([itemid]))
    # by exact search over the server's own copy of the vectors: one that counts preferred terms has the items with one,
    # and the nearest others
    lists = search_channels(
        opened.exact.call,
        opened.manifest,
        opened.channels,
        evidence.user,
        evidence.timestamp,
        len(opened.catalogue),
    )
    channels = channel_places(evidence, lists, shares, itemid, 0)
    moving = []
    if ranked.rank:
        at = np.array([ranked.rank - 1])
        # against the items in the list; against all where this one is among them
        moving = effects(scorer, evidence, at, slice(None) if at in best else best)

    found_by_any = any(at.rank for at in channels.values())
    code: WhyNotCode = "not_found"
    if ranked.rank:
        code = among_first or "ranked_below"
    elif itemid in evidence.candidates.item_numbers:
        code = "no_features"
    elif fused.rank:
        code = "not_fused"
    elif not found_by_any and _never_trained(opened, itemid):
        code = "never_trained"
    return answer(
        code,
        channels=channels,
        cut=recall.candidates,
        fused=fused,
        ranked=ranked,
        diversified=moved,
        effects=moving[0] if moving else None,
    )


def _never_trained(opened: Release, itemid: int) -> bool:
    """Whether no channel has a vector of it; False for an item of which the server holds no copy."""
    rows = np.flatnonzero(opened.exact.item_numbers == itemid)
    return len(rows) > 0 and all(
        np.isnan(vectors[rows]).any() for vectors in opened.exact.vectors.values()
    )


_SENTENCES: Final[dict[WhyNotCode, tuple[str, str]]] = {
    "in_the_list": ("It is number {place} of the list.", "它在列表中排第 {place} 位。"),
    "seen": (
        "The user has seen it; nothing is recommended twice.",
        "用户已经看过，看过的不再推荐。",
    ),
    "unknown_user": (
        "Nothing is known of this user, so the popular list answers, and its first {size} do not include this item.",
        "对该用户一无所知，因此返回热门列表，而它不在前 {size} 位之中。",
    ),
    "hidden": (
        "A rule hides it from everybody (make rules).",
        "有规则对所有人隐藏了它（make rules）。",
    ),
    "unknown_item": ("This release has no such item.", "当前版本没有这个物品。"),
    "never_trained": (
        "Nobody had rated it when the release was trained, so no channel has a vector of it.",
        "训练这个版本时还没有人评过它，因此没有通道有它的向量。",
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


def _sentence(found: WhyNot) -> Sentence:
    en, zh = _SENTENCES[found.code]
    against = []
    if found.effects:
        moved = found.effects.columns
        against = [each.column for each in moved if each.effect < 0][:_AGAINST]
    place = found.diversified or found.ranked  # in the order of the answer
    numbers = {
        "size": found.size,
        "cut": found.cut,
        "rank": found.ranked and found.ranked.rank,
        "of": found.ranked and found.ranked.of,
        "place": place and place.rank,
        "fused": found.fused and found.fused.rank,
        "en_ranks": _ranks(found.channels, "{rank} by {name}", "not by {name}", ", "),
        "zh_ranks": _ranks(
            found.channels, "{name} 第 {rank} 位", "{name} 没有它", "，"
        ),
        "en_against": f" Most against it: {joined(against)}." if against else "",
        "zh_against": f"最不利的是 {'、'.join(against)}。" if against else "",
    }
    return Sentence(en=en.format_map(numbers), zh=zh.format_map(numbers))


def _ranks(
    channels: Mapping[str, ChannelPlace], there: str, nowhere: str, between: str
) -> str:
    words = []
    for name, at in channels.items():
        text = there if at.rank else nowhere
        words.append(text.format(name=name, rank=at.rank))
    return between.join(words)
