"""Recall channel `followers`, what comes after what, and the recipe for the next event: RECSYS_RECIPE=next-item.

The score of an item is the logarithm of how often it came soon after the user's newest events, over all users' events:
a pair that is k events apart counts 1/k, and the user's newest event but k weighs 1/(k + 1). There are two tables of
such counts, of items that came in the same second as the event before them and of all others, and the request's gap
chooses one: people rate a page of items at once, and a request in the same second asks for the rest of the page.

The channel has no vectors and scores all items at a request. Its tables are items x items, in half precision.
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
    TowerRecipe,
)
from data_exchange_center.steps import StepError

if TYPE_CHECKING:
    from offline.data.sequences import Inputs, Sequences
    from offline.models.kinds import Fitted

LATER, AT_ONCE = 0, 1  # tables
MOST_ITEMS: Final = 10_000  # a table of so many takes 200 MB
SCALE: Final = 1000.0  # of shares, which half precision would round


class FollowersRecipe(ChannelRecipe):
    """Settings of the channel of what comes after what."""

    trained_by: ClassVar[str] = f"{__name__}:fit"
    served_as: ClassVar[str] = f"{__name__}:Followers"

    kind: Literal["followers"] = "followers"
    name: str = "followers"
    # events between a pair's two, and newest events of a user that are read
    lags: int = 20
    power: float = 1.0  # an event k places away weighs k ** -power
    prior: float = 20.0  # added to the counts of each row, so that rare items do not seem to be followed for sure
    others: float = 0.3  # weight of the other pairs in the table of what comes at once, which has fewer
    at_once_s: int = 1  # seconds after an event within which the next one comes at once


@dataclass(frozen=True, eq=False)
class Followers(Channel):
    """Weighted sums of the rows of the newest events, in the table that the request's gap chooses."""

    form: ClassVar[str] = "followers"

    at_once_s: int
    lag: Float32  # (lags,) weights of the newest event, the second newest, ...
    # (2, items + 1, items + 1) LATER and AT_ONCE: share of the column's item among what came
    tables: NDArray[np.float16]
    # after the row's, times `SCALE`; row and column 0 are zero

    @property
    def events(self) -> int:
        return len(self.lag)

    def scores(self, requests: Requests) -> Float32:
        items = requests.items[:, : self.events]  # (m, n)
        table = np.full(len(requests), LATER)
        if items.shape[1]:
            table[requests.timestamps - requests.times[:, 0] <= self.at_once_s] = (
                AT_ONCE
            )
        sums = np.zeros((len(requests), self.tables.shape[2]), np.float32)
        for weight, codes in zip(self.lag, items.T, strict=False):
            sums += weight * self.tables[table, codes]
        return np.log(sums, out=np.full_like(sums, NOT_FOUND), where=sums > 0)


def fit(
    recipe: FollowersRecipe, past: Sequences, inputs: Inputs, data: DataRecipe
) -> Fitted:
    """Count all pairs of a user's events up to `lags` apart. Raises StepError where the tables would be too large."""
    from offline.models.kinds import Fitted

    size = past.n_items + 1
    if past.n_items > MOST_ITEMS:
        raise StepError(
            f"the channel {recipe.name!r} has tables of items x items and takes up to {MOST_ITEMS:,} items; this data "
            f"set has {past.n_items:,}: choose another recipe."
        )
    users, weights = past.users, np.arange(1, recipe.lags + 1) ** -recipe.power
    at_once = np.zeros(len(users), np.bool_)
    at_once[1:] = (users[1:] == users[:-1]) & (np.diff(past.times) <= recipe.at_once_s)
    counts = np.zeros((2, size * size), np.float32)
    for lag, weight in enumerate(weights[: len(users) - 1], start=1):
        before, after = past.items[:-lag], past.items[lag:]
        for table in (LATER, AT_ONCE):
            pairs = (users[lag:] == users[:-lag]) & (
                at_once[lag:] == (table == AT_ONCE)
            )
            np.add.at(
                counts[table], before[pairs] * size + after[pairs], np.float32(weight)
            )
    counts[AT_ONCE] += recipe.others * counts[LATER]
    tables = counts.reshape(2, size, size)
    sums = tables.sum(axis=2, keepdims=True) + recipe.prior
    # without a prior, nothing may follow an item
    tables *= SCALE / np.where(sums > 0, sums, 1)
    return Fitted(
        Followers(
            recipe.name,
            recipe.at_once_s,
            weights.astype(np.float32),
            tables.astype(np.float16),
        )
    )


# --- The recipe. What differs from `default` was chosen on the last event but one

NEXT_ITEM: Final = Recipe(
    name="next-item",
    recall=DEFAULT.recall.model_copy(
        update={
            "channels": (
                TowerRecipe(fusion_weight=4.0, horizon=2, stride=3),
                EaseRecipe(),
                FollowersRecipe(fusion_weight=2.0),
            )
        }
    ),
    ranker=ListRankerRecipe(horizon=1, past=0.8, stride=4, epochs=4, returning=()),
)
