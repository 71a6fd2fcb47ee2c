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
from data_exchange_center.filling import behind
from extras.questions.history import HistoryRequest
from extras.routes import expect_kind
from online.recommend.loaded_release import Release
from online.recommend.recall import search_channels
from online.recommend.types import (
    Answer,
    Ranked,
    Request,
    Slate,
    UserId,
    absent_by_default,
)

MAX_CANDIDATES: Final = 1_000
EXAMPLE: Final[dict[str, Any]] = {"userid": 1, "candidates": [1, 2858, 260]}


class RankRequest(HistoryRequest):
    """The user and the items to rank, in any order. The other fields are those of `/ml/rec`."""

    candidates: Annotated[list[UserId], Field(min_length=1, max_length=MAX_CANDIDATES)]
    size: Annotated[int, Field(ge=1, le=MAX_CANDIDATES)] = MAX_CANDIDATES


class RankAnswer(Answer):
    """With the candidates that have no place."""

    unknown: list[OwnId] = absent_by_default(
        [],
        "of /ml/rank: candidates that the release does not know or has no features of, and hidden ones",
    )


def enough(request: Request) -> int:
    """No candidates are needed: they are the client's."""
    return 0


def choose(
    request: Any, opened: Release, user: StoredUser, found: Candidates
) -> Candidates:
    """The candidates of a `RankRequest`, with their recall features, in recall's order. Raises WrongIdError."""
    wanted = numbers_of(request.candidates, "candidates", opened)
    return among(request, opened, user, found, np.unique(wanted))


def among(
    request: Request,
    opened: Release,
    user: StoredUser,
    found: Candidates,
    wanted: NDArray[np.int64],
) -> Candidates:
    """The wanted items, by number (n,) ascending, with recall's features, in recall's order."""
    recall = opened.manifest.recipe.recall
    size = sum(len(hits.ids) for hits in found.by_channel.values())
    if size:  # also what fusion has cut off
        found = fused_lists(recall, found.by_channel, size)
    # Those that no channel has on its list: each channel scores and ranks them by the server's own copy of the vectors,
    # as if its list went on. Seen items may be among them.
    more = np.setdiff1d(wanted, found.item_numbers)
    if len(more):
        alone = replace(user, seen=user.seen[:0], only=more)
        tails = search_channels(
            opened.exact.call,
            opened.manifest,
            opened.channels,
            alone,
            request.timestamp,
            len(more),
        )
        found = behind(recall, found, more, tails)
    return found.only(np.isin(found.item_numbers, wanted))


def limit_popular(slate: Slate) -> None:
    """Put the candidates of a request into the order of a popular list, where that answers."""
    request: Any = slate.request
    slate.end = "", ""  # the candidates are given: fewer than the size is no short list
    if slate.candidates is None:
        numbers = numbers_of(request.candidates, "candidates", slate.release)
        slate.ranked = kept(slate.ranked, np.isin(slate.ranked.item_numbers, numbers))


def name_unknown(slate: Slate) -> None:
    """Name the candidates that have no place."""
    request: Any = slate.request
    catalogue = slate.release.catalogue
    ranked = slate.ranked.item_numbers.tolist()
    placed = {catalogue[number].own_id for number in ranked}
    unknown = [own for own in request.candidates if own not in placed]
    slate.more["unknown"] = list(dict.fromkeys(unknown))


def numbers_of(own_ids: list[OwnId], field: str, opened: Release) -> NDArray[np.int64]:
    """The numbers of a request's items, of those that the release knows. Raises WrongIdError."""
    kind = opened.manifest.dataset.item_ids
    for place, own in enumerate(own_ids):
        expect_kind(field, own, kind, f"[{place}]")
    return opened.known(own_ids)


def kept(ranked: Ranked, places: NDArray[np.bool_ | np.intp]) -> Ranked:
    """Some items of a ranked list, by a mask or in the order of their places."""
    rows = None if ranked.rows is None else ranked.rows[places]
    return replace(
        ranked,
        item_numbers=ranked.item_numbers[places],
        scores=ranked.scores[places],
        rows=rows,
    )
