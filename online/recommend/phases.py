"""Phases: where extensions act on a request, in this order; and the slate, which the last three act on.

An extension appends a function to a phase: ``recommender.phases.rerank.append(by_stock)``. Within a phase functions run
in the order in which extensions register: `online.main.s1_server.EXTRAS`, then those of other packages.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from data_exchange_center.candidates import Candidates, StoredUser
from data_exchange_center.dataset import OwnId
from data_exchange_center.fusion import NO_HITS
from online.recommend.last_release import SavedPopular
from online.recommend.loaded_release import Release
from online.recommend.types import (
    FUSED,
    NO_MORE,
    Degradation,
    Item,
    Outcome,
    Ranked,
    Request,
    TimedRequest,
    items_of,
    sentences,
)


@dataclass(frozen=True)
class Phases:
    """The functions of extensions, by phase."""

    # a release that was just loaded, before it answers
    release: list[Callable[[Release], Release]] = field(default_factory=list)
    # the user's state from Redis, None: unknown; a request may bring one of its own
    state: list[Callable[[Request, Release, StoredUser | None], StoredUser | None]] = field(default_factory=list)
    # the state before its events are applied to history and seen items: which of them count
    history: list[Callable[[Request, Release, StoredUser | None], StoredUser | None]] = field(default_factory=list)
    # the state that recall searches for: further seen items, or the only ones that may be found
    recall: list[Callable[[Request, Release, StoredUser], StoredUser]] = field(default_factory=list)
    # what recall has found, before it is ranked
    candidates: list[Callable[[Request, Release, StoredUser, Candidates], Candidates]] = field(default_factory=list)
    # the ranked or popular list: other orders, fewer items
    rerank: list[Callable[[Slate], None]] = field(default_factory=list)
    # the items that are shown: what is recorded of them
    page: list[Callable[[Slate], None]] = field(default_factory=list)
    # further fields of the answer
    annotate: list[Callable[[Slate], None]] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Slate:
    """All that an answer is made of.

    Attributes:
        opened: the release; None where there is only the popular list that was kept on disk.
        user: the state as the request sees it; None: nothing is known of the user, and the popular list answers.
        candidates: None where the popular list answers.
        ranked: the candidates, best first; an extension that reorders them sets ``order``.
        degraded: what the answer lacks, in the order of the stages.
        saved: the popular list from disk; only where ``opened`` is None.
        end: why there are no more items, if the list turns out short: a word for programs, and a sentence.
        more: fields that extensions add to the answer.
    """

    timed: TimedRequest
    opened: Release | None
    user: StoredUser | None
    candidates: Candidates | None
    ranked: Ranked
    degraded: list[Degradation]
    saved: SavedPopular | None = None
    end: tuple[str, str] = NO_MORE
    more: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def popular(
        cls, timed: TimedRequest, opened: Release | None, degraded: list[Degradation], saved: SavedPopular | None = None
    ) -> Slate:
        """A release's popular list; without a release the ``saved`` one, as a copy that extensions may change."""
        popular = opened.by_popularity if opened else NO_HITS
        slate = cls(timed, opened, None, None, Ranked(popular.ids, popular.scores), degraded)
        if opened is None and saved is not None:
            slate.saved = saved.model_copy(update={"item_list": [*saved.item_list]})
        return slate

    @property
    def items(self) -> list[Item]:
        """Items that the answer shows."""
        if self.opened is None:
            return self.saved.item_list[: self.timed.request.size] if self.saved else []
        places = self.ranked.shown(self.timed.request.size)  # (size,)
        return items_of(self.opened.catalogue, self.ranked.itemids[places], self.ranked.scores[places])

    def fields(self) -> dict[str, Any]:
        """The fields of the answer that say what the list is made of."""
        request, cold_start = self.timed.request, self.user is None and not self.degraded
        filled_up, short = 0, ""
        why = sentences(self.degraded, cold_start=cold_start) if self.degraded or cold_start else ""
        if self.candidates is not None and len(self.candidates.filled):
            shown = self.ranked.itemids[self.ranked.shown(request.size)]
            filled_up = int(np.isin(shown, self.candidates.filled).sum())
        by_fault = {each.outcome for each in self.degraded} & {Outcome.POPULAR, Outcome.NO_ITEM_FEATURES}
        if self.opened is not None and len(self.ranked.itemids) < request.size and not by_fault:
            short, no_more = self.end
            why = f"{why} {no_more}".strip()
        return {
            "release": self.opened.release if self.opened else self.saved.release if self.saved else "",
            "cold_start": cold_start,
            "item_list": self.items,
            "degraded": self.degraded,
            "filled_up": filled_up,
            "short": short,
            "reason": why,
            "recall": self.recalled() if request.explain == "recall" else {},
            **self.more,
        }

    def recalled(self) -> dict[str, list[OwnId]]:
        """The items' own ids that each channel found, best first, and under `FUSED` the fused list."""
        if self.opened is None or self.candidates is None:
            return {FUSED: []}
        lists = {
            FUSED: self.candidates.itemids,
            **{name: hits.ids for name, hits in self.candidates.by_channel.items()},
        }
        shown = self.opened.catalogue
        return {name: [shown[each].own_id for each in ids.tolist() if each in shown] for name, ids in lists.items()}


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """What the first stage gives: the release that answers, and the user's stored state; None: unknown."""

    timed: TimedRequest
    opened: Release
    user: StoredUser | None
    degraded: tuple[Degradation, ...] = ()
