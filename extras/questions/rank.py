"""Rank a client's own candidates by the ranking model: `POST /ml/rank`.

Items that recall finds keep their recall features, so their scores are those of `/ml/rec`. The others are placed
behind.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from data_exchange_center.candidates import Candidates, StoredUser, fused_lists
from data_exchange_center.dataset import OwnId
from data_exchange_center.fusion import RRF_K, candidate_column
from extras.questions import history
from extras.questions.history import HistoryRequest
from extras.routes import expect_kind
from online.recommend.recall import search_channels
from online.recommend.recommend import Slate
from online.recommend.release import Release
from online.recommend.types import Answer, Ranked, Request, UserId, absent_by_default
from online.web.guard import EXPECTED as CORE

MAX_CANDIDATES: Final = 1_000
EXAMPLE: Final[dict[str, Any]] = {"userid": 1, "candidates": [1, 2858, 260]}
EXPECTED: Final = {
    **CORE,
    **history.EXPECTED,
    "candidates": f"a list of 1 to {MAX_CANDIDATES:,} item ids",
    "size": f"a whole number from 1 to {MAX_CANDIDATES}",
}


class RankRequest(HistoryRequest):
    """For whom, and which items, in any order. The other fields are those of `/ml/rec`."""

    candidates: Annotated[list[UserId], Field(min_length=1, max_length=MAX_CANDIDATES)]
    size: Annotated[int, Field(ge=1, le=MAX_CANDIDATES)] = MAX_CANDIDATES


class RankAnswer(Answer):
    """With the candidates that have no place."""

    unknown: list[OwnId] = absent_by_default(
        [], "of /ml/rank: candidates that the release does not know or has no features of, and hidden ones"
    )


def before_rank(request: Request, opened: Release, user: StoredUser, found: Candidates) -> Candidates:
    """The request's own candidates, with their recall features, in recall's order. Raises WrongIdError."""
    if not isinstance(request, RankRequest):
        return found
    wanted = np.unique(numbers_of(request.candidates, "candidates", opened))
    if size := sum(len(hits.ids) for hits in found.by_channel.values()):  # also what fusion has cut off
        found = fused_lists(opened.manifest.recipe.recall, found.by_channel, size)
    every = behind(opened, user, request.timestamp, found, np.setdiff1d(wanted, found.itemids))
    return every.only(np.isin(every.itemids, wanted))


def before_answer(slate: Slate) -> None:
    """Put the candidates of a request into the order of a popular list, where that answers."""
    request, opened = slate.timed.request, slate.opened
    if not isinstance(request, RankRequest):
        return
    if slate.saved is not None:
        wanted = set(request.candidates)
        slate.saved.item_list[:] = [item for item in slate.saved.item_list if item.itemid in wanted]
    elif opened is not None and slate.candidates is None:
        numbers = np.unique(numbers_of(request.candidates, "candidates", opened))
        slate.ranked = among_popular(slate.ranked, popular_first(opened, numbers))


def name_unknown(slate: Slate) -> None:
    """Name the candidates that have no place."""
    request, opened = slate.timed.request, slate.opened
    if not isinstance(request, RankRequest):
        return
    if opened is None:
        placed = {item.itemid for item in slate.saved.item_list} if slate.saved else set()
    else:
        numbers_of(request.candidates, "candidates", opened)  # raises for ids of another kind
        placed = {opened.catalogue[itemid].own_id for itemid in slate.ranked.itemids.tolist()}
    slate.more["unknown"] = [own for own in dict.fromkeys(request.candidates) if own not in placed]


def numbers_of(own_ids: list[OwnId], field: str, opened: Release) -> NDArray[np.int64]:
    """The numbers of a request's items, of those that the release knows. Raises WrongIdError."""
    kind = opened.manifest.dataset.item_ids
    for place, own in enumerate(own_ids):
        expect_kind(field, own, kind, f"[{place}]")
    return opened.known(own_ids)


def popular_first(opened: Release, itemids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Items, (m,), in the order of the popular list; those that are not on it follow, by number."""
    listed = opened.popular.ids[np.isin(opened.popular.ids, itemids)]
    return np.concatenate([listed, np.setdiff1d(itemids, listed)]).astype(np.int64)


def among_popular(popular: Ranked, itemids: NDArray[np.int64]) -> Ranked:
    """Some items of a popular list, as `popular_first` has them; the score of what is not on it is 0."""
    scores = np.zeros(len(itemids), np.float32)
    listed = np.isin(popular.itemids, itemids)
    scores[: listed.sum()] = popular.scores[listed]
    return Ranked(itemids, scores)


def kept(ranked: Ranked, places: NDArray[np.bool_ | np.intp]) -> Ranked:
    """Some items of a ranked list, by a mask or in the order of their places."""
    rows = None if ranked.rows is None else ranked.rows[places]
    return replace(ranked, itemids=ranked.itemids[places], scores=ranked.scores[places], rows=rows)


def behind(opened: Release, user: StoredUser, timestamp: int, found: Candidates, more: NDArray[np.int64]) -> Candidates:
    """Append ``more`` items, (m,), that no channel found, behind the candidates ``found``.

    Each channel scores those that it can by the server's own copy of the vectors, and ranks them after its list's end.
    An item that it cannot score gets the last score and the rank after that, as in `fuse`. Seen items may be among
    them.
    """
    if not len(more):
        return found
    alone = replace(user, seen=user.seen[:0], only=np.sort(more))
    lists = search_channels(opened.exact, opened.manifest, opened.channels, alone, timestamp, len(more))
    columns = list(found.columns)
    features = np.zeros((len(more), len(columns)), np.float32)
    earned = np.zeros(len(more))  # as in `fuse`
    for channel in opened.manifest.recipe.recall.channels:
        head, tail = found.by_channel[channel.name], lists[channel.name]
        known, places = np.isin(more, tail.ids), {itemid: n for n, itemid in enumerate(tail.ids.tolist())}
        at = np.array([places[itemid] for itemid in more[known].tolist()], np.intp)
        ranks = np.full(len(more), len(head.ids) + len(tail.ids))
        ranks[known] = len(head.ids) + at
        earned[known] += channel.fusion_weight / (RRF_K + 1 + ranks[known])
        if not len(head.ids):  # zeros, as in `fuse`
            continue
        scores = np.full(len(more), np.min([*tail.scores[-1:], head.scores[-1]]))
        scores[known] = tail.scores[at]
        standings = (scores - head.scores.mean()) / max(float(head.scores.std()), 1e-6)
        for kind, values in (("score", scores), ("standing", standings), ("log_rank", np.log1p(ranks))):
            features[:, columns.index(candidate_column(channel.name, kind))] = values  # type: ignore[arg-type]
    order = np.lexsort((more, -earned))
    features = features[order]
    features[:, columns.index("fused_log_rank")] = np.log1p(len(found.itemids) + np.arange(len(more)))
    last = found.scores.min() if len(found.scores) else np.inf
    return replace(
        found,
        itemids=np.concatenate([found.itemids, more[order]]),
        scores=np.concatenate([found.scores, np.minimum(earned[order], last)]).astype(np.float32),
        features=np.concatenate([found.features, features]),
    )
