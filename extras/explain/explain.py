"""Explain each item of an answer: its place on every list of the request, a reason in words, and what moves its score.

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
)
from online.clients.base import Deadline, ServiceError
from online.clients.triton import ScoreQuery
from online.recommend.loaded_release import Release
from online.recommend.types import Ranked, Slate

Scorer = Callable[[ScoreQuery], NDArray[np.float32]]
Ints = NDArray[np.integer]
Places = NDArray[np.intp]  # on the ranked list, from 0

MAX_ITEMS = 50  # with effects
MAX_ROWS = 4096  # that the model scores for one explanation
COLUMNS = 5  # effects listed for each item
EVENTS = 5  # of the history listed for each channel
_REASONS_SHARE = 0.5  # of the time that is left; the rest is for the model's effects
_DIGITS = 7  # of a score: rounded, hundreds of shares still add up within 1e-5
_NAMED = 2  # items or fields in a sentence


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
    """Intermediate results of one user's answer.

    Attributes:
        user: as a request at ``timestamp`` (seconds) sees them.
        candidates: recall's, before those without features are left out.
    """

    opened: Release
    user: StoredUser
    timestamp: int
    candidates: Candidates
    ranked: Ranked

    @classmethod
    def of(cls, slate: Slate) -> Evidence | None:
        """Evidence of an answer; None if the popular list answers."""
        if slate.user is None or slate.candidates is None:
            return None
        timestamp = slate.request.timestamp
        return cls(slate.release, slate.user, timestamp, slate.candidates, slate.ranked)

    def shares(self, itemids: Ints) -> Mapping[str, Shares]:
        """Channel whose scores are sums -> the terms of (k,) items' scores, which mean nothing for unknown items."""
        channels, user = self.opened.channels, self.user
        requests = channels.requests(user.history, user.profile, self.timestamp)
        codes = channels.codes(itemids)
        found = {}
        for channel, request in requests:
            shares = shares_of(channel, request, codes)
            if shares is not None:
                found[channel.name] = shares
        return found

    @cached_property
    def events(self) -> dict[int, dict[str, Any]]:
        """Position in the history, newest first -> an event whose item is in the catalogue."""
        history, levels = self.user.history, self.opened.manifest.dataset.levels
        found = {}
        for n, number in enumerate(history.item_numbers.tolist()):
            item = self.opened.catalogue.get(number)
            if item is not None:
                found[n] = {
                    "itemid": item.own_id,
                    "title": item.title,
                    "rating": levels[history.ratings[n] - 1],
                    "timestamp": int(history.times[n]),
                }
        return found


def explained(
    scorer: Scorer, evidence: Evidence, size: int, deadline: Deadline, *, strict: bool
) -> list[Explanation]:
    """Explain the ``size`` items that are shown, in their order, as far as the time until ``deadline`` reaches.

    Without a scorer ``effects`` are null; ``strict``: its ServiceError is raised instead.
    """
    candidates, ranked = evidence.candidates, evidence.ranked
    reasons_until = deadline.share(_REASONS_SHARE)
    if not reasons_until.left():
        return []
    shares, places = evidence.shares(candidates.item_numbers), ranked.shown(size)
    explanations: list[Explanation] = []
    for itemid in ranked.item_numbers[places].tolist():
        if not reasons_until.left():
            break
        k = int(np.flatnonzero(candidates.item_numbers == itemid)[0])
        channels = channel_places(evidence, candidates.by_channel, shares, itemid, k)
        explanations.append(
            Explanation(
                itemid=evidence.opened.catalogue[itemid].own_id,
                reason=_reason(evidence, channels, shares, itemid, k),
                channels=channels,
                fused=place(candidates, itemid),
                ranked=place(ranked, itemid),
                diversified=diversified(ranked, itemid),
            )
        )
    try:
        found = effects(scorer, evidence, places[: len(explanations)], slice(None))
    except ServiceError:
        if strict:
            raise
        found = []
    for explanation, moved in zip(explanations, found, strict=False):
        explanation.effects = moved
    return explanations


def explained_as_popular(slate: Slate) -> list[Explanation]:
    """Explain the items of a popular list."""
    ranked = slate.ranked
    shown = ranked.item_numbers[ranked.shown(slate.request.size)].tolist()
    return [
        Explanation(
            itemid=item.itemid,
            reason=_worded("popular"),
            channels={},
            fused=Place(of=0),
            ranked=place(ranked, number),
            diversified=diversified(ranked, number),
        )
        for item, number in zip(slate.items, shown, strict=True)
    ]


# --- places, shares


def place(found: Candidates | Ranked, itemid: int) -> Place:
    """An item's rank, from 1, and score on a list."""
    return place_of(found.item_numbers, found.scores, itemid)


def place_of(ids: Ints, scores: NDArray[np.floating] | None, itemid: int) -> Place:
    at = np.flatnonzero(ids == itemid)
    if not len(at):
        return Place(of=len(ids))
    score = None if scores is None else _rounded(scores[at[0]])
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
        places[name] = ChannelPlace(**at.model_dump())
        if name in shares and places[name].rank:
            places[name].shares = _listed(evidence, shares[name], k)
    return places


def _listed(evidence: Evidence, sums: Shares, k: int) -> shapes.Shares:
    """An item's shares. The `EVENTS` largest of its events are listed, the others are summed."""
    profile = evidence.opened.manifest.dataset.profile
    fields = zip(profile, sums.profile[k].tolist(), strict=False)
    events = sums.events[k]
    named = [n for n in _largest(events) if n in evidence.events and events[n]]
    largest = named[:EVENTS]
    return shapes.Shares(
        base=_rounded(sums.base[k]),
        popularity=_rounded(sums.popularity[k]),
        profile={field: _rounded(share) for field, share in fields},
        history=[
            EventShare(**evidence.events[n], share=_rounded(events[n])) for n in largest
        ],
        others=_rounded(np.delete(events, largest).sum()),
    )


def _rounded(score: float) -> float:
    return round(float(score), _DIGITS)


# --- reasons


def _reason(
    evidence: Evidence,
    places: Mapping[str, ChannelPlace],
    shares: Mapping[str, Shares],
    itemid: int,
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
    name = max(counts, key=counts.__getitem__, default=None)
    sums = shares.get(name) if name else None
    found = _of_shares(evidence, sums, k) if sums else None
    if found is not None:
        return found
    names, items = evidence.opened.spec.genres, evidence.opened.exact
    terms = [
        names[code - 1]
        for code in evidence.user.terms
        if itemid in items.item_numbers[items.terms.get(code, [])]
    ]
    if name is None or sums is not None:
        return _worded("popular", values=terms)
    by_terms = {each.name for each in recall.searched if each.term_weight > 0}
    if terms and name in by_terms:
        return _worded("terms", values=terms)
    return _worded("taste")


def _of_shares(evidence: Evidence, shares: Shares, k: int) -> Reason | None:
    """The reason from a channel's shares: the user's part that lifts the item most; None if none does.

    Popularity is the same for everybody and larger than all else: it is the reason where the user gives none.
    """
    of_history = _lift(shares.events.sum(axis=1), k)
    of_profile = _lift(shares.profile.sum(axis=1), k)
    reason = None
    if of_history > 0:
        reason = _of_events(evidence, shares.events, k)
    if of_profile > 0 and (of_profile > of_history or reason is None):
        fields = evidence.opened.manifest.dataset.profile
        lifts = _lift(shares.profile, k)  # (fields,)
        first = [n for n in np.argsort(-lifts)[:_NAMED] if lifts[n] > 0]
        reason = _worded("profile", values=[fields[n] for n in first])
    return reason


def _of_events(evidence: Evidence, shares: NDArray[Any], k: int) -> Reason | None:
    """The reason from a history's shares: events that the user liked, or else rated."""
    dataset = evidence.opened.manifest.dataset
    above, types = dataset.positive_level, dataset.types
    order = np.argsort(-_lift(shares, k), kind="stable").tolist()
    best = [n for n in order if n in evidence.events and shares[k, n] > 0]
    if not best:
        return None
    codes = evidence.user.history.ratings
    liked = [n for n in best if codes[n] > above]
    kinds = []
    if types:  # events of the type of the first
        chosen = liked or best
        liked = [n for n in chosen if codes[n] == codes[chosen[0]]]
        kinds = [types[codes[chosen[0]] - 1].name]
    # each title once: a user may have bought an item several times
    items: dict[str, NamedItem] = {}
    for n in liked or best:
        event = evidence.events[n]
        named = NamedItem(itemid=event["itemid"], title=event["title"])
        items.setdefault(named.title, named)
    named_items = list(items.values())[:_NAMED]
    if kinds:
        return _worded("did", named_items, kinds)
    return _worded("liked" if liked else "rated", named_items)


def _lift(shares: NDArray[np.float64], k: int) -> Any:
    """Shares of the candidate in row ``k`` above those of the mean candidate."""
    return shares[k] - shares.mean(axis=0)


_REASONS: Final[dict[ReasonCode, tuple[str, str]]] = {
    "liked": ("Because you liked {en}.", "因为你喜欢{zh}。"),
    "rated": ("Because of what you rated lately: {en}.", "因为你最近评过{zh}。"),
    "did": ("Because of {kind}: {en}.", "因为你的{kind}：{zh}。"),
    "profile": (
        "Liked by people with the same {en} as yours.",
        "与你 {zh} 相同的人喜欢它。",
    ),
    "terms": ("Of a kind that you often like: {en}.", "属于你常喜欢的类型：{zh}。"),
    "popular": ("Popular with everybody.", "大家都喜欢。"),
    "taste": (
        "Near to your taste, as learned from your ratings.",
        "接近从你的评分中学到的口味。",
    ),
}
_POPULAR_TERMS: Final = (
    "Popular, and of a kind that you often like: {en}.",
    "大家都喜欢，而且属于你常喜欢的类型：{zh}。",
)


def _worded(
    code: ReasonCode, items: Sequence[NamedItem] = (), values: Sequence[str] = ()
) -> Reason:
    en, zh = _POPULAR_TERMS if code == "popular" and values else _REASONS[code]
    words = [item.title for item in items]
    kind = "".join(values) if code == "did" else ""
    named = values if not kind else ()
    words += [value.replace("_", " ") for value in named]
    quoted = [*(f"《{item.title}》" for item in items), *named]
    sentence = Sentence(
        en=en.format(en=joined(words), kind=kind),
        zh=zh.format(zh="、".join(quoted), kind=kind),
    )
    return Reason(code=code, items=[*items], values=[*values], sentence=sentence)


def joined(words: list[str]) -> str:
    """Join words: a; a and b; a, b and c."""
    *first, last = words or [""]
    return f"{', '.join(first)} and {last}" if first else last


# --- effects


def effects(
    scorer: Scorer, evidence: Evidence, shown: Places, reference: Places | slice
) -> list[shapes.Effects]:
    """The effects on the scores of the items in places ``shown`` of the ranked list, as far as `MAX_ROWS` reaches.

    A column of the items' side or of recall is replaced by its mean over the items in places ``reference``, a category
    by the unknown one. Columns that are the same for the whole list (the user's) move no item past another and are
    left out. Empty if the list is not ranked. Raises ServiceError.
    """
    query, spec = evidence.ranked.query, evidence.opened.spec
    if query is None or evidence.ranked.rows is None or not len(shown):
        return []
    rows, ranked = query.inputs.rows, evidence.ranked.rows
    columns = np.flatnonzero(np.ptp(rows, axis=0) > 0)
    instead = rows[ranked[reference]].mean(axis=0)
    for n, feature in enumerate(spec.features):
        if isinstance(feature, OneHotFeature):
            instead[n] = UNKNOWN
    most = min(MAX_ITEMS, MAX_ROWS // (1 + len(columns)))
    mine = rows[ranked[shown][:most]]  # (k, width)
    changed = np.repeat(mine[None], 1 + len(columns), axis=0)  # as they are, first
    for n, column in enumerate(columns, start=1):
        changed[n, :, column] = instead[column]
    inputs = ModelInputs(changed.reshape(-1, rows.shape[1]), query.inputs.history)
    scores = scorer(replace(query, inputs=inputs)).reshape(-1, len(mine))
    found = []
    for row, moved in zip(mine, (scores[0] - scores[1:]).T, strict=True):
        largest = [
            ColumnEffect(
                column=spec.columns[columns[n]],
                value=_rounded(row[columns[n]]),
                instead=_rounded(instead[columns[n]]),
                effect=_rounded(moved[n]),
            )
            for n in _largest(moved)[:COLUMNS]
        ]
        found.append(shapes.Effects(columns=largest))
    return found


def _largest(parts: NDArray[np.floating]) -> list[int]:
    """Indices by absolute value, the largest first."""
    order: list[int] = np.argsort(-np.abs(parts), kind="stable").tolist()
    return order
