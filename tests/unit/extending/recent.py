"""Recall channel: what was liked most in the days before the request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from data_exchange_center.channels import NOT_FOUND, Channel, Float32, Requests
from data_exchange_center.recipes import ChannelRecipe
from offline.models.kinds import Fitted

if TYPE_CHECKING:
    from data_exchange_center.recipes import DataRecipe
    from offline.data.inputs import Inputs
    from offline.data.sequences import Sequences

DAY_S = 86_400


@dataclass(frozen=True, eq=False)
class LikedRecently(Channel):
    """What is served: counts day by day, from which a request cuts its own window."""

    form: ClassVar[str] = "liked_recently"

    first_day: int  # days since 1970-01-01
    likes: NDArray[np.int32]  # (days + 1, items + 1) how often each item had been liked before each day began
    days: int  # in the window

    def scores(self, requests: Requests) -> Float32:
        today = requests.timestamps // DAY_S - self.first_day  # excluded: the day of the request
        last = len(self.likes) - 1
        recent = self.likes[np.clip(today, 0, last)] - self.likes[np.clip(today - self.days, 0, last)]
        return np.where(recent > 0, recent, NOT_FOUND).astype(np.float32)


class RecentRecipe(ChannelRecipe):
    """What configures it, and how it is fitted."""

    served: ClassVar[type[LikedRecently]] = LikedRecently

    kind: Literal["recent"] = "recent"
    name: str = "recent"
    days: int = 90

    def fit(self, past: Sequences, inputs: Inputs, data: DataRecipe) -> Fitted:
        day = past.times // DAY_S
        likes = np.zeros((np.ptp(day) + 2, past.n_items + 1), dtype=np.int32)
        np.add.at(likes, (day[past.liked] - day.min() + 1, past.items[past.liked]), 1)
        return Fitted(LikedRecently(self.name, int(day.min()), likes.cumsum(axis=0, dtype=np.int32), self.days))
