"""Explain why an item is not in a user's list: the stage that it was lost at, and the reason."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from data_exchange_center.dataset import OwnId
from extras.explain.explain import (
    Evidence,
    Scorer,
    channel_places,
    diversified,
    effects,
    place,
)
from extras.explain.shapes import Sentence, WhyNot, WhyNotCode
from online.recommend.recall import search_channels
from online.recommend.types import Slate
from online.web.parts import InOrder

_AGAINST: Final = 2  # columns in a sentence


def why_not(scorer: Scorer, slate: Slate, own_id: OwnId, in_order: InOrder) -> WhyNot:
    """Explain where an item is lost on the way to a list, or that it is on it. Raises ServiceError.

    ``in_order``: as of `Parts`.
    """
    opened, size = slate.release, slate.request.size
    itemid = opened.numbers.get(own_id)

    def answer(code: WhyNotCode, **found: Any) -> WhyNot:
        nothing = Sentence(en="", zh="")
        result = WhyNot(
            itemid=own_id, release=opened.release, code=code, sentence=nothing, **found
        )
        result.sentence = _sentence(result, size)
        return result

    if itemid is None:
        return answer("unknown_item")
    if not len(in_order(opened, np.array([itemid]))):
        return answer("hidden")
    ranked, best = place(slate.ranked, itemid), slate.ranked.shown(size)
    places = {"ranked": ranked, "diversified": diversified(slate.ranked, itemid)}
    among_first: WhyNotCode | None = None
    if itemid in slate.ranked.item_numbers[best]:
        among_first = "in_the_list"
    elif ranked.rank and ranked.rank <= size:
        among_first = "too_alike"
    evidence = Evidence.of(slate)
    if evidence is None:  # the popular list
        return answer(among_first or "unknown_user", **places)
    if itemid in evidence.user.seen:
        return answer("seen")

    # its rank by every channel, however far down, by exact search over the server's own copy of the vectors: one that
    # counts preferred terms has the items with one, and the nearest others
    lists = search_channels(
        opened.exact.call,
        opened.manifest,
        opened.channels,
        evidence.user,
        slate.request.timestamp,
        len(opened.catalogue),
    )
    shares = evidence.shares(np.array([itemid]))
    moving = []
    if ranked.rank:
        moving = effects(scorer, evidence, np.array([ranked.rank - 1]))
    code: WhyNotCode = "not_found"
    if ranked.rank:
        code = among_first or "ranked_below"
    elif itemid in evidence.candidates.item_numbers:
        code = "no_features"
    return answer(
        code,
        channels=channel_places(evidence, lists, shares, itemid, 0),
        fused=place(evidence.candidates, itemid),
        effects=moving[0] if moving else None,
        **places,
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
    "not_found": (
        "It is not among the {candidates} candidates that recall chose. Its ranks by channel: {ranks}.",
        "它不在召回选出的 {candidates} 个候选之中。它在各通道中的名次：{ranks}。",
    ),
    "no_features": (
        "Recall found it, but the feature store holds nothing of it, so it cannot be ranked.",
        "召回找到了它，但特征库里没有它的特征，因此无法排序。",
    ),
    "ranked_below": (
        "It was found and ranked number {rank} of {of}; the list ends at {size}. Most against it: {against}.",
        "它被找到并排在 {of} 个中的第 {rank} 位，而列表只到第 {size} 位。最不利的是：{against}。",
    ),
    "too_alike": (
        "It was ranked number {rank} of {of}, but it is too much like others of the list, which is made diverse.",
        "它排在 {of} 个中的第 {rank} 位，但与列表中别的物品太相似，而列表要求多样。",
    ),
}


def _sentence(found: WhyNot, size: int) -> Sentence:
    en, zh = _SENTENCES[found.code]
    moved = found.effects or []
    against = [each.column for each in moved if each.effect < 0][:_AGAINST]
    place = found.diversified or found.ranked  # in the order of the answer
    numbers = {
        "size": size,
        "rank": found.ranked and found.ranked.rank,
        "of": found.ranked and found.ranked.of,
        "candidates": found.fused and found.fused.of,
        "place": place and place.rank,
        "ranks": ", ".join(
            f"{name} {at.rank or '–'}" for name, at in found.channels.items()
        ),
        "against": ", ".join(against) or "–",
    }
    return Sentence(en=en.format_map(numbers), zh=zh.format_map(numbers))
