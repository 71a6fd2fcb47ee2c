"""Explain each item of an answer: its place on every list of the request, a reason in words, and what moves its score;
or why an item is not there: the stage that it was lost at, and the reason.

If a channel's score is a sum over the user's history, it is split into its terms (`shares_of`). The ranking model's
score is explained by occlusion: the score minus the score with one input removed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, singledispatch
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from data_exchange_center.candidates import Candidates, StoredUser
from data_exchange_center.channels import Channel, HistorySum, Requests, sigmoid
from data_exchange_center.dataset import OwnId
from data_exchange_center.features import UNKNOWN, ModelInputs, OneHotFeature
from data_exchange_center.fusion import RRF_K, Hits
from extras.explain import shapes
from extras.explain.shapes import (
    ChannelPlace,
    ColumnEffect,
    EventShare,
    Explanation,
    NamedItem,
    Place,
    Reason,
    ReasonCode,
    Sentence,
    WhyNot,
    WhyNotCode,
)
from online.clients.base import ServiceError
from online.clients.triton import ScoreQuery
from online.recommend.loaded_release import Release
from online.recommend.recall import search_channels
from online.recommend.types import MAX_SIZE, Ranked, Slate
from online.web.parts import InOrder

Scorer = Callable[[ScoreQuery], NDArray[np.float32]]
Ints = NDArray[np.integer]
Places = NDArray[np.intp]  # on the ranked list, from 0

MAX_ROWS = 4096  # that the model scores for one explanation
COLUMNS = 5  # effects listed for each item
EVENTS = 5  # of the history listed for each channel
_NAMED = 2  # items, fields or columns in a sentence


# --- a channel's score, split into what the user's events, the profile and popularity add to it


@dataclass(frozen=True, eq=False)
class Shares:
    """The terms of one request's scores of k items; their sum is the scores.

    Attributes:
        base: (k,) what every user would get.
        popularity: (k,) of the item alone.
        profile: (k, fields) in the order of `Dataset.profile`; no fields where the channel does not look at them.
        events: (k, n) of the user's newest events, newest first.
    """

    base: NDArray[np.float64]
    popularity: NDArray[np.float64]
    profile: NDArray[np.float64]
    events: NDArray[np.float64]


@singledispatch
def shares_of(channel: Channel, requests: Requests, items: Ints) -> Shares | None:
    """Terms of a channel's scores of (k,) item codes, for one request; None where the scores are no sums.

    A channel of another class is explained by a function that its package registers here.
    """
    return None


@shares_of.register
def _(channel: HistorySum, requests: Requests, items: Ints) -> Shares:
    """The inner product of an item with each term of the user's sum.

    Hidden units are linear except for their gates. With the gates fixed as for this request, a term's share is its
    direct part plus its part through the units; the units' bias belongs to ``base``.
    """
    found = channel.items[items].astype(np.float64)  # (k, d)
    codes = requests.items[0, : channel.events]
    terms = []  # (n, d) of each field of an event
    for rows, weights in zip(channel.rows, channel.weights(requests), strict=True):
        terms.append(weights[0][:, None] * rows[codes])
    base = channel.base[requests.regimes[0]]
    profile = np.zeros((len(channel.profile), found.shape[1]))  # (fields, d)
    for n, table in enumerate(channel.profile):
        profile[n] = table[requests.profiles[0, n]]

    # an item as each field sees it: directly, and through the hidden units
    seen_by, of_all = [found] * len(terms), np.zeros(len(found))
    if channel.hidden:
        up, bias, down = channel.hidden
        sums = np.stack([each.sum(axis=0) for each in terms])
        sums[0] += base + profile.sum(axis=0)
        gates = sigmoid(np.einsum("fd,fdh->h", sums, up) + bias)
        opened = (found @ down.T) * gates  # (k, h)
        seen_by, of_all = [found + opened @ each.T for each in up], opened @ bias
    of_events = [each @ term.T for each, term in zip(seen_by, terms, strict=True)]
    return Shares(
        base=seen_by[0] @ base + of_all,
        popularity=channel.bias[items].astype(np.float64),
        profile=seen_by[0] @ profile.T,
        events=np.sum(of_events, axis=0),
    )


# --- the items of an answer


@dataclass(frozen=True, eq=False)
class Evidence:
    """Intermediate results of one user's answer; ``candidates``: recall's, with those without features."""

    slate: Slate
    user: StoredUser
    candidates: Candidates

    @classmethod
    def of(cls, slate: Slate) -> Evidence | None:
        """Evidence of an answer; None if the popular list answers."""
        if slate.user is None or slate.candidates is None:
            return None
        return cls(slate, slate.user, slate.candidates)

    @property
    def opened(self) -> Release:
        return self.slate.release

    def shares(self, itemids: Ints) -> Mapping[str, Shares]:
        """Channel whose scores are sums -> the terms of (k,) items' scores, which mean nothing for unknown items."""
        channels, user = self.opened.channels, self.user
        requests = channels.requests(
            user.history, user.profile, self.slate.request.timestamp
        )
        codes = channels.codes(itemids)
        found = {}
        for channel, request in requests:
            shares = shares_of(channel, request, codes)
            if shares is not None:
                found[channel.name] = shares
        return found

    @cached_property
    def events(self) -> dict[int, NamedItem]:
        """Position in the history, newest first -> the item, where it is in the catalogue."""
        found = {}
        for n, number in enumerate(self.user.history.item_numbers.tolist()):
            item = self.opened.catalogue.get(number)
            if item is not None:
                found[n] = NamedItem(itemid=item.own_id, title=item.title)
        return found


def explained(scorer: Scorer, slate: Slate) -> list[Explanation]:
    """Explain the items that are shown, in their order, as far as the time of the request reaches.

    Without a scorer ``effects`` are null; its ServiceError is raised for a strict request.
    """
    evidence, ranked = Evidence.of(slate), slate.ranked
    # /ml/rank ranks more, and each reason costs time
    places = ranked.shown(min(slate.request.size, MAX_SIZE))
    shares: Mapping[str, Shares] = {}
    if evidence is not None and slate.deadline.left():
        shares = evidence.shares(evidence.candidates.item_numbers)
    explanations: list[Explanation] = []
    for number in ranked.item_numbers[places].tolist():
        if not slate.deadline.left():
            break
        explanation = Explanation(
            itemid=slate.release.catalogue[number].own_id,
            reason=_worded("popular"),
            ranked=place(ranked, number),
            diversified=diversified(ranked, number),
        )
        if evidence is not None:
            found = evidence.candidates
            k = int(np.flatnonzero(found.item_numbers == number)[0])
            of_channels = channel_places(evidence, found.by_channel, shares, number, k)
            explanation.channels = of_channels
            explanation.reason = _reason(evidence, of_channels, shares, k)
            explanation.fused = place(found, number)
        explanations.append(explanation)
    if evidence is None:
        return explanations
    moving: list[list[ColumnEffect]] = []
    try:
        moving = effects(scorer, evidence, places[: len(explanations)])
    except ServiceError:
        if slate.request.strict:
            raise
    for explanation, moved in zip(explanations, moving, strict=False):
        explanation.effects = moved
    return explanations


# --- places, shares


def place(found: Candidates | Ranked, itemid: int) -> Place:
    return place_of(found.item_numbers, found.scores, itemid)


def place_of(ids: Ints, scores: NDArray[np.floating] | None, itemid: int) -> Place:
    """An item's rank, from 1, and score on a list."""
    at = np.flatnonzero(ids == itemid)
    if not len(at):
        return Place(of=len(ids))
    score = None if scores is None else scores[at[0]]
    return Place(rank=int(at[0]) + 1, score=score, of=len(ids))


def diversified(ranked: Ranked, itemid: int) -> Place | None:
    """An item's place in the order that is shown; None where that is the ranked list's own."""
    if ranked.order is None:
        return None
    return place_of(ranked.item_numbers[ranked.order], None, itemid)


def channel_places(
    evidence: Evidence,
    lists: Mapping[str, Hits],
    shares: Mapping[str, Shares],
    itemid: int,
    k: int,
) -> dict[str, ChannelPlace]:
    """An item's place on each channel's list, with its shares (row ``k``) if the channel found it."""
    places = {}
    for name, found in lists.items():
        at = place_of(found.ids, found.scores, itemid)
        listed = None
        if name in shares and at.rank:
            listed = _listed(evidence, shares[name], k)
        places[name] = ChannelPlace(**dict(at), shares=listed)
    return places


def _listed(evidence: Evidence, sums: Shares, k: int) -> shapes.Shares:
    """An item's shares. The `EVENTS` largest of its events are listed, the others are summed."""
    profile = evidence.opened.manifest.dataset.profile
    fields = zip(profile, sums.profile[k].tolist(), strict=False)
    events, named = sums.events[k], evidence.events
    largest = [n for n in _largest(events) if n in named and events[n]][:EVENTS]
    return shapes.Shares(
        base=sums.base[k],
        popularity=sums.popularity[k],
        profile=dict(fields),
        history=[EventShare(**dict(named[n]), share=events[n]) for n in largest],
        others=np.delete(events, largest).sum(),
    )


# --- reasons


def _reason(
    evidence: Evidence,
    places: Mapping[str, ChannelPlace],
    shares: Mapping[str, Shares],
    k: int,
) -> Reason:
    """The reason why recall found an item. ``k``: its row among the candidates and in the shares.

    It comes from the channel that counts most in fusion, of those that found the item. The channel's shares are
    compared with the mean candidate's, as a part common to all candidates ranks none above another.
    """
    recall = evidence.opened.manifest.recipe.recall
    counts = {}
    for channel in recall.channels:
        rank = places[channel.name].rank
        if rank:
            counts[channel.name] = channel.fusion_weight / (RRF_K + rank)
    name = max(counts, key=counts.__getitem__, default="")
    if not name:
        return _worded("popular")
    if name not in shares:
        return _worded("taste")
    # the user's part that lifts the item most. Popularity is the same for everybody and larger than all else: it is the
    # reason where the user gives none
    profile, events = shares[name].profile, shares[name].events
    of_history = _lift(events.sum(axis=1), k)
    of_profile = _lift(profile.sum(axis=1), k)
    reason = _of_events(evidence, events, k) if of_history > 0 else None
    if of_profile > 0 and (of_profile > of_history or reason is None):
        lifts = _lift(profile, k)  # (fields,)
        first = [n for n in np.argsort(-lifts)[:_NAMED] if lifts[n] > 0]
        fields = evidence.opened.manifest.dataset.profile
        return _worded("profile", values=[fields[n] for n in first])
    return reason or _worded("popular")


def _of_events(
    evidence: Evidence, shares: NDArray[np.float64], k: int
) -> Reason | None:
    """The reason from a history's shares: events that the user liked, or else rated."""
    dataset, codes = evidence.opened.manifest.dataset, evidence.user.history.ratings
    order = np.argsort(-_lift(shares, k), kind="stable").tolist()
    best = [n for n in order if n in evidence.events and shares[k, n] > 0]
    if not best:
        return None
    liked = [n for n in best if codes[n] > dataset.positive_level]
    chosen = liked or best
    kinds = []
    if dataset.types:  # events of the type of the first
        kinds = [dataset.types[codes[chosen[0]] - 1].name]
        chosen = [n for n in chosen if codes[n] == codes[chosen[0]]]
    # each title once: a user may have bought an item several times
    items: dict[str, NamedItem] = {}
    for n in chosen:
        items.setdefault(evidence.events[n].title, evidence.events[n])
    named = [*items.values()][:_NAMED]
    if kinds:
        return _worded("did", named, kinds)
    return _worded("liked" if liked else "rated", named)


def _lift(shares: NDArray[np.float64], k: int) -> NDArray[np.float64]:
    """Shares of the candidate in row ``k`` above those of the mean candidate."""
    lift: NDArray[np.float64] = shares[k] - shares.mean(axis=0)
    return lift


_REASONS: Final[dict[ReasonCode, tuple[str, str]]] = {
    "liked": ("Because you liked {en}.", "因为你喜欢{zh}。"),
    "rated": ("Because of what you rated lately: {en}.", "因为你最近评过{zh}。"),
    "did": ("Because of {kind}: {en}.", "因为你的{kind}：{zh}。"),
    "profile": (
        "Liked by people with the same {en} as yours.",
        "与你 {zh} 相同的人喜欢它。",
    ),
    "popular": ("Popular with everybody.", "大家都喜欢。"),
    "taste": (
        "Near to your taste, as learned from your ratings.",
        "接近从你的评分中学到的口味。",
    ),
}


def _worded(
    code: ReasonCode, items: Sequence[NamedItem] = (), values: Sequence[str] = ()
) -> Reason:
    en, zh = _REASONS[code]
    kind = "".join(values)
    named = [item.title for item in items] or [
        each.replace("_", " ") for each in values
    ]
    quoted = [f"《{item.title}》" for item in items] or values
    sentence = Sentence(
        en=en.format(en=" and ".join(named), kind=kind),
        zh=zh.format(zh="、".join(quoted), kind=kind),
    )
    return Reason(code=code, items=[*items], values=[*values], sentence=sentence)


# --- effects


def effects(
    scorer: Scorer, evidence: Evidence, shown: Places
) -> list[list[ColumnEffect]]:
    """The effects on the scores of the items in places ``shown`` of the ranked list, as far as `MAX_ROWS` reaches.

    A column of the items' side or of recall is replaced by its mean over the list, a category by the unknown one.
    Columns that are the same for the whole list (the user's) move no item past another and are left out. Empty if the
    list is not ranked. Raises ServiceError.
    """
    query, ranked = evidence.slate.ranked.query, evidence.slate.ranked.rows
    if query is None or ranked is None or not len(shown):
        return []
    spec, rows = evidence.opened.spec, query.inputs.rows
    columns = np.flatnonzero(np.ptp(rows, axis=0) > 0)
    instead = rows[ranked].mean(axis=0)
    for n, feature in enumerate(spec.features):
        if isinstance(feature, OneHotFeature):
            instead[n] = UNKNOWN
    most = MAX_ROWS // (1 + len(columns))
    mine = rows[ranked[shown][:most]]  # (k, width)
    changed = np.repeat(mine[None], 1 + len(columns), axis=0)  # as they are, first
    for n, column in enumerate(columns, start=1):
        changed[n, :, column] = instead[column]
    inputs = ModelInputs(changed.reshape(-1, rows.shape[1]), query.inputs.history)
    scores = scorer(replace(query, inputs=inputs)).reshape(-1, len(mine))
    names = [spec.columns[column] for column in columns]
    return [
        [
            ColumnEffect(column=names[n], effect=moved[n])
            for n in _largest(moved)[:COLUMNS]
        ]
        for moved in (scores[0] - scores[1:]).T
    ]


def _largest(parts: NDArray[np.floating]) -> list[int]:
    """Indices by absolute value, the largest first."""
    order: list[int] = np.argsort(-np.abs(parts), kind="stable").tolist()
    return order


# --- why an item is not in the list


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
    against = [each.column for each in moved if each.effect < 0][:_NAMED]
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
