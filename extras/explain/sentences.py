"""Reasons in words, English and Chinese; what a page says in its own way it makes from codes and parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from extras.explain.shapes import ChannelPlace, NamedItem, ReasonCode, Sentence, Standing, WhyNotCode

_REASONS: dict[ReasonCode, tuple[str, str]] = {
    "liked": ("Because you liked {en}.", "因为你喜欢{zh}。"),
    "rated": ("Because of what you rated lately: {en}.", "因为你最近评过{zh}。"),
    "profile": ("Liked by people with the same {en} as yours.", "与你 {zh} 相同的人喜欢它。"),
    "terms": ("Of a kind that you often like: {en}.", "属于你常喜欢的类型：{zh}。"),
    "popular": ("Popular with everybody.", "大家都喜欢。"),
    "taste": ("Near to your taste, as learned from your ratings.", "接近从你的评分中学到的口味。"),
}

_POPULAR_TERMS = ("Popular, and of a kind that you often like: {en}.", "大家都喜欢，而且属于你常喜欢的类型：{zh}。")


def reason_sentence(code: ReasonCode, items: Sequence[NamedItem], values: Sequence[str]) -> Sentence:
    """``items`` of the history, or ``values`` of profile or terms, as `Reason` has them."""
    en, zh = _POPULAR_TERMS if code == "popular" and values else _REASONS[code]
    words, quoted = (
        ([item.title for item in items], [f"《{item.title}》" for item in items])
        if items
        else ([value.replace("_", " ") for value in values], list(values))
    )
    return Sentence(en=en.format(en=joined(words)), zh=zh.format(zh="、".join(quoted)))


def joined(words: Sequence[str]) -> str:
    """a; a and b; a, b and c."""
    return " and ".join([*([", ".join(words[:-1])] if words[:-1] else []), *words[-1:]])


_WHY_NOT: dict[WhyNotCode, tuple[str, str]] = {
    "in_the_list": ("It is number {place} of the list.", "它在列表中排第 {place} 位。"),
    "seen": ("The user has seen it; nothing is recommended twice.", "用户已经看过，看过的不再推荐。"),
    "unknown_user": (
        "Nothing is known of this user, so the popular list answers, and its first {size} do not include this item.",
        "对该用户一无所知，因此返回热门列表，而它不在前 {size} 位之中。",
    ),
    "unknown_item": ("This release has no such item.", "当前版本没有这个物品。"),
    "never_trained": (
        "Nobody had rated it when the release was trained, so no channel can find it.",
        "训练这个版本时还没有人评过它，因此没有通道能找到它。",
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
}  # fmt: skip
_AGAINST = 2  # columns in a sentence


def why_not_sentence(code: WhyNotCode, found: Standing) -> Sentence:
    """With the numbers of ``found``."""
    en, zh = _WHY_NOT[code]
    against = [moved.column for moved in found.effects.columns if moved.effect < 0] if found.effects else []
    numbers = {
        "size": found.size,
        "cut": found.cut,
        "rank": found.ranked.rank if found.ranked else None,
        "of": found.ranked.of if found.ranked else None,
        "place": found.place.rank if found.place else None,
        "fused": found.fused.rank if found.fused else None,
        "en_ranks": _ranks(found.channels, "{rank} by {name}", "nowhere by {name}", ", "),
        "zh_ranks": _ranks(found.channels, "{name} 第 {rank} 位", "{name} 没有它", "，"),
        "en_against": f" Most against it: {joined(against[:_AGAINST])}." if against else "",
        "zh_against": f"最不利的是 {'、'.join(against[:_AGAINST])}。" if against else "",
    }
    return Sentence(en=en.format_map(numbers), zh=zh.format_map(numbers))


def _ranks(channels: Mapping[str, ChannelPlace], there: str, nowhere: str, between: str) -> str:
    said = [(there if at.rank else nowhere).format(name=name, rank=at.rank) for name, at in channels.items()]
    return between.join(said)
