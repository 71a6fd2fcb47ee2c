"""Two recall channels for repeat purchases, and the recipe with them: RECSYS_RECIPE=baskets.

`own`: a user's own earlier items, scored by frequency and recency. `lately`: what is popular in the days before the
request, as a supermarket's offers change by the week. Neither has vectors; both score all items per request.

Events of one second are a basket; in a log with dates for times, that is all a user buys in one day. Recency of a
user's own items is counted in baskets, so a request of today over old data gets the same scores.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final, Literal

import numpy as np
from numpy.typing import NDArray

from data_exchange_center.channels import Channel, Float32, Requests
from data_exchange_center.fusion import NOT_FOUND
from data_exchange_center.recipes import (
    DEFAULT,
    ChannelRecipe,
    DataRecipe,
    EaseRecipe,
    ListRankerRecipe,
    Recipe,
)

if TYPE_CHECKING:
    from offline.data.sequences import Inputs, Sequences
    from offline.models.kinds import Fitted

DAY_S: Final = 86_400


# --- A user's own items


class OwnItemsRecipe(ChannelRecipe):
    """Settings of the channel of a user's own items."""

    trained_by: ClassVar[str] = f"{__name__}:fit_own"
    served_as: ClassVar[str] = f"{__name__}:OwnItems"

    kind: Literal["own_items"] = "own_items"
    name: str = "own"
    decay: float = 0.9  # from one basket to the one before it
    newest: int = 300  # events of the user that are scored


@dataclass(frozen=True, eq=False)
class OwnItems(Channel):
    """An item's score is the sum over the user's events with it of ``decay`` ** (baskets since)."""

    form: ClassVar[str] = "own_items"

    decay: float
    newest: int
    known: NDArray[np.bool_]  # (items + 1,) False for padding

    @property
    def events(self) -> int:
        return self.newest

    def scores(self, requests: Requests) -> Float32:
        items, times = requests.items, requests.times  # (m, n)
        later = np.zeros(items.shape, np.int64)  # baskets since each event's
        later[:, 1:] = np.cumsum(times[:, 1:] != times[:, :-1], axis=1)
        rows = np.broadcast_to(np.arange(len(items))[:, None], items.shape)
        weights = (self.decay**later) * (items > 0)
        width = len(self.known)
        sums = np.bincount(
            (rows * width + items).ravel(), weights.ravel(), len(items) * width
        ).reshape(len(items), width)
        return np.where((sums > 0) & self.known, sums, NOT_FOUND).astype(np.float32)


def fit_own(
    recipe: OwnItemsRecipe, past: Sequences, inputs: Inputs, data: DataRecipe
) -> Fitted:
    """Build the channel; nothing is learned. The import is inside, as the server has no `offline`."""
    from offline.models.kinds import Fitted

    known = np.arange(past.n_items + 1) > 0
    return Fitted(OwnItems(recipe.name, recipe.decay, recipe.newest, known))


# --- What is popular in the last days


class LatelyRecipe(ChannelRecipe):
    """Settings of the channel of the last days."""

    trained_by: ClassVar[str] = f"{__name__}:fit_lately"
    served_as: ClassVar[str] = f"{__name__}:Lately"

    kind: Literal["lately"] = "lately"
    name: str = "lately"
    decay: float = 0.5  # from one day to the one before it


@dataclass(frozen=True, eq=False)
class Lately(Channel):
    """An item's score is its share of the liked events in the days before the request, older days weighing less. A
    request after the data's end gets the data's last days."""

    form: ClassVar[str] = "lately"

    first_day: int  # days since 1970-01-01
    shares: Float32  # (days + 1, items + 1) before each day

    def scores(self, requests: Requests) -> Float32:
        day = np.clip(
            requests.timestamps // DAY_S - self.first_day, 0, len(self.shares) - 1
        )  # (m,)
        shares = self.shares[day]  # (m, items + 1)
        return np.where(shares > 0, shares, np.float32(NOT_FOUND))


def fit_lately(
    recipe: LatelyRecipe, past: Sequences, inputs: Inputs, data: DataRecipe
) -> Fitted:
    """Sum liked events by day, with decay. Scores are shares, as training channels see fewer events a day."""
    from offline.models.kinds import Fitted

    day, first = past.times // DAY_S, int(past.times.min() // DAY_S)  # (events,)
    sums = np.zeros((int(day.max()) - first + 2, past.n_items + 1), dtype=np.float32)
    np.add.at(sums, (day[past.liked] - first + 1, past.items[past.liked]), 1)
    for today in range(1, len(sums)):  # events of a day count from the next day on
        sums[today] += recipe.decay * sums[today - 1]
    return Fitted(
        Lately(
            recipe.name, first, sums / np.maximum(sums.sum(axis=1, keepdims=True), 1e-9)
        )
    )


# --- The recipe. What differs from `default` was chosen on the last basket but one: extras/baskets/README.md

BASKETS: Final = Recipe(
    name="baskets",
    recall=DEFAULT.recall.model_copy(
        update={
            "channels": (
                OwnItemsRecipe(fusion_weight=4.0),
                LatelyRecipe(fusion_weight=2.0),
                EaseRecipe(),
            )
        }
    ),
    ranker=ListRankerRecipe(
        returning=()
    ),  # with dates as times, every user counts as returning
)
