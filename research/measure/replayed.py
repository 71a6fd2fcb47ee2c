"""A user's held-out events, told to the running server one after the other; a stranger who is told a few of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from data_exchange_center.dataset import Dataset, DatasetIds, OwnId
from extras.events.events import Event
from offline.data.sequences import Sequences
from research.measure.server_loop import Loop

K: Final = 50
NEVER: Final = 1_000_000  # events late
LATE: Final = {"told at once": 0, "told 1 event late": 1, "told 5 events late": 5, "never told": NEVER}
GIVEN: Final = (0, 1, 2, 3, 5, 10)  # events that a stranger is known by
LONG: Final = 200  # items that a server answers with at most
PREFIX: Final = "evaluate-live:"  # of eventids

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Replay:
    """Users' events, in the words of the server.

    Attributes:
        data: of all users, the held-out events last.
        held_out: (users,) how many those are.
    """

    data: Sequences
    held_out: NDArray[np.int64]
    own_ids: DatasetIds
    dataset: Dataset

    def userid(self, user: int) -> OwnId:
        return self.own_ids.users[int(self.data.userids[user])]

    def stranger(self, user: int) -> OwnId:
        """An id that no user has."""
        if self.dataset.user_ids == "string":
            return f"{PREFIX}{user}"
        return int(self.data.userids.max()) + 1 + user

    def held(self, user: int) -> range:
        """Places of the held-out events."""
        end = int(self.data.starts[user + 1])
        return range(end - int(self.held_out[user]), end)

    def item(self, place: int) -> OwnId:
        return self.own_ids.items[int(self.data.itemids[self.data.items[place] - 1])]

    def event(self, place: int, userid: OwnId) -> Event:
        dataset = self.dataset
        rates = next(name for name, effect in dataset.event_types.items() if effect == "rates")
        value = dataset.levels[int(self.data.ratings[place]) - 1] if dataset.has_values else None
        return Event(f"{PREFIX}{place}", userid, self.item(place), rates, int(self.data.times[place]), value)


@dataclass(frozen=True)
class Replayed:
    """Results of one user.

    Attributes:
        ranks: a name of `LATE` -> as `replayed` gives it.
        shares: as `as_stranger` gives it.
    """

    user: int
    ranks: dict[str, Floats]
    shares: Floats

    def as_json(self) -> dict[str, Any]:
        ranks = {name: row.tolist() for name, row in self.ranks.items()}
        return {"user": self.user, "ranks": ranks, "shares": self.shares.tolist()}

    @classmethod
    def of_json(cls, found: dict[str, Any]) -> Replayed:
        ranks = {name: np.array(row, np.float64) for name, row in found["ranks"].items()}
        return cls(found["user"], ranks, np.array(found["shares"], np.float64))


def of_user(loop: Loop, user: int, replay: Replay) -> Replayed:
    """All of it. As long as nothing was told, an answer is the one of who is never told: it is asked for once."""
    never = replayed(loop, user, replay, NEVER)
    ranks = {name: never if late == NEVER else replayed(loop, user, replay, late, never) for name, late in LATE.items()}
    return Replayed(user, ranks, as_stranger(loop, user, replay))


def replayed(loop: Loop, user: int, replay: Replay, late: int, never: Floats | None = None) -> Floats:
    """(held out,) rank, from 1, of each liked event's item when asked for just before; inf: not on the list; NaN where
    it was not liked, or liked before.

    ``never``: the same for who is never told; then the steps at which nothing was told yet are taken from it.
    """
    userid, held = replay.userid(user), replay.held(user)
    before = set(replay.data.items[replay.data.starts[user] : held.start].tolist())
    ranks = np.full(len(held), np.nan)
    loop.take_back(userid, PREFIX)  # of a run that was killed
    try:
        for step, place in enumerate(held):
            if never is not None and step <= late:
                ranks[step] = never[step]
            elif replay.data.liked[place] and replay.data.items[place] not in before:
                asked = loop.ask(userid, int(replay.data.times[place]), K)
                ranks[step] = _rank(asked, replay.item(place))
            if step >= late:
                loop.tell([replay.event(place - late, userid)])
    finally:
        loop.take_back(userid, PREFIX)
    return ranks


def as_stranger(loop: Loop, user: int, replay: Replay) -> Floats:
    """(`GIVEN`,) share of the liked held-out items within the first `K`, by how many events the stranger has.

    What the user had seen before is taken off the list, as no held-out item is new that was seen. NaN without a liked
    item, or with fewer events before than the most that are given.
    """
    userid, held = replay.stranger(user), replay.held(user)
    first = int(replay.data.starts[user])
    before = {replay.item(place) for place in range(first, held.start)}
    liked = {replay.item(place) for place in held if replay.data.liked[place]} - before
    shares = np.full(len(GIVEN), np.nan)
    if not liked or held.start - first < max(GIVEN):
        return shares
    told = 0
    loop.take_back(userid, PREFIX)
    try:
        for row, given in enumerate(GIVEN):
            if given > told:
                loop.tell([replay.event(held.start - n, userid) for n in range(given, told, -1)])
                told = given
            asked = loop.ask(userid, int(replay.data.times[held.start]), LONG)
            new = [item for item in asked if item not in before][:K]
            shares[row] = len(liked & set(new)) / len(liked)
    finally:
        loop.take_back(userid, PREFIX)
    return shares


def _rank(items: Sequence[OwnId], item: OwnId) -> float:
    return items.index(item) + 1.0 if item in items else float("inf")
