"""What the ranker is trained on, asked of the past: which requests, and what is in their lists.

Random numbers are drawn for all users in order, then for all requests. They can also be had for some users alone, in
the middle of that order, so that the requests of a part are the same whoever makes the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Self, cast

import numpy as np
from numpy.typing import NDArray

from data_exchange_center.channels import Channel
from data_exchange_center.recipes import ListsRecipe, Recipe
from data_exchange_center.steps import StepError
from offline.data.lists import Lists, recall_lists
from offline.data.requests import Points, asked_later, request_points
from offline.data.sequences import Sequences

AT_ONCE: Final = 1 << 20  # numbers that are drawn to get past them
NOTHING_LIKED: Final = "no recalled list holds anything that was liked next: there is nothing to train the ranker on."


class ListsMade(NamedTuple):
    """How many lists were written, of how many candidates each, and how many of these were liked next."""

    lists: int
    candidates: int
    liked: int


@dataclass(frozen=True)
class ListsAsked:
    """The ranker's requests.

    Attributes:
        seed: of what is random about them.
        past: share of each user's events that the teachers know; requests come later.
        stride: events between requests.
        later: share of the requests that are asked years later.
        weights: of each channel in the fusion.
        size: candidates of a list.
        history: events the ranker sees.
        horizon: events after a request that say what was liked.
    """

    seed: int
    past: float
    stride: int
    later: float
    weights: tuple[float, ...]
    size: int
    history: int
    horizon: int

    @classmethod
    def of(cls, recipe: Recipe, ranker: ListsRecipe) -> Self:
        return cls(
            seed=ranker.seed + 1,
            past=ranker.past,
            stride=ranker.stride,
            later=ranker.later,
            weights=tuple(channel.fusion_weight for channel in recipe.recall.channels),
            size=recipe.recall.candidates,
            history=ranker.history,
            horizon=ranker.horizon,
        )

    def draws(self, users: int = 0) -> np.random.Generator:
        """As it is when it has drawn for that many users."""
        rng = np.random.default_rng(self.seed)
        for begin in range(0, users, AT_ONCE):
            rng.integers(0, self.stride, min(AT_ONCE, users - begin))
        return rng

    def draws_later(self, users: int, requests: int, begin: int) -> tuple[np.random.Generator, np.random.Generator]:
        """When a request comes later, and which does: as the draws are for request ``begin`` of all ``requests``."""
        when, which = self.draws(users), self.draws(users)
        for rng, numbers in ((when, begin), (which, requests + begin)):
            cast(np.random.PCG64, rng.bit_generator).advance(numbers)  # one for each request
        return when, which

    def requests(self, past: Sequences, draws: np.random.Generator) -> Points:
        """Of all users of ``past``, at the moments at which they happened; the draws go on to the users after these."""
        points = request_points(past, self.stride, draws)
        return points.take(points.positions >= past.earlier_lengths(self.past)[points.users])

    def asked(self, points: Points, when: np.random.Generator, which: np.random.Generator) -> Points:
        """The requests, some of them later; the draws go on to those after these."""
        return asked_later(points, self.later, when, which)

    def all_requests(self, past: Sequences) -> Points:
        """Of everybody, some of them later."""
        points = self.requests(past, self.draws())
        return self.asked(points, *self.draws_later(past.n_users, len(points), 0))

    def recalled(
        self, past: Sequences, profiles: NDArray[np.int64], teachers: Sequence[Channel], *, by_user: bool = False
    ) -> Lists:
        """Everybody's lists; ``by_user``: see `recall_lists`. Raises StepError when none holds anything liked."""
        lists = self.lists(past, self.all_requests(past), profiles, teachers, by_user=by_user)
        if not len(lists):
            raise StepError(NOTHING_LIKED)
        return lists

    def lists(
        self,
        past: Sequences,
        points: Points,
        profiles: NDArray[np.int64],
        teachers: Sequence[Channel],
        *,
        by_user: bool,
    ) -> Lists:
        """What the teachers recall at the requests, where it holds anything that was liked next.

        ``by_user``: what a user's requests find does not depend on who else asks, to the last digit (`recall_lists`).
        """
        return recall_lists(
            past,
            points,
            profiles,
            teachers,
            self.weights,
            size=self.size,
            history=self.history,
            horizon=self.horizon,
            only_liked=True,
            by_user=by_user,
        )
