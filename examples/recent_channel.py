"""A recall channel of your own: the items liked most in the days before the request.

It has no vector, and its list depends on the time of the request. A request after the end of the data, as one of today
is for MovieLens, gets the data's last days. One file holds its settings, its fit and its served form; pyproject.toml
next to it declares the settings, which name the other two. To try it:

    .venv/bin/uv pip install -e examples
    .venv/bin/python -m examples.recent_channel > recent.json
    RECSYS_RECIPE=recent.json make demo
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from data_exchange_center.channels import Channel, Float32, Requests
from data_exchange_center.fusion import NOT_FOUND
from data_exchange_center.recipes import DEFAULT, ChannelRecipe, DataRecipe

if TYPE_CHECKING:
    from offline.data.sequences import Inputs, Sequences
    from offline.models.kinds import Fitted

DAY_S = 86_400


class RecentRecipe(ChannelRecipe):
    """Settings, as a recipe names them."""

    trained_by: ClassVar[str] = "examples.recent_channel:fit"
    served_as: ClassVar[str] = "examples.recent_channel:LikedRecently"

    kind: Literal["recent"] = "recent"
    name: str = "recent"
    days: int = 90


@dataclass(frozen=True, eq=False)
class LikedRecently(Channel):
    """Served form: counts day by day, from which a request cuts its own window."""

    form: ClassVar[str] = "recent"

    first_day: int  # days since 1970-01-01
    # (days + 1, items + 1) how often each item had been liked before each day began
    likes: NDArray[np.int32]
    days: int  # in the window

    def scores(self, requests: Requests) -> Float32:
        last = len(self.likes) - 1  # likes after the end of the data are not known
        # (m,) excluded: the day of the request
        today = np.minimum(requests.timestamps // DAY_S - self.first_day, last)
        recent = (
            self.likes[np.maximum(today, 0)]
            - self.likes[np.clip(today - self.days, 0, last)]
        )  # (m, items + 1)
        return np.where(recent > 0, recent, NOT_FOUND).astype(np.float32)


def fit(
    recipe: RecentRecipe, past: Sequences, inputs: Inputs, data: DataRecipe
) -> Fitted:
    """Count likes by day. `offline` is imported inside, as the server imports this file without it."""
    from offline.models.kinds import Fitted

    day = past.times // DAY_S  # (events,)
    likes = np.zeros((np.ptp(day) + 2, past.n_items + 1), dtype=np.int32)
    np.add.at(likes, (day[past.liked] - day.min() + 1, past.items[past.liked]), 1)
    return Fitted(
        LikedRecently(
            recipe.name,
            int(day.min()),
            likes.cumsum(axis=0, dtype=np.int32),
            recipe.days,
        )
    )


# The default recipe with this channel as a third one.
CHANNELS = (*DEFAULT.recall.channels, RecentRecipe(fusion_weight=0.5))
RECIPE = DEFAULT.model_copy(
    update={
        "name": "recent",
        "recall": DEFAULT.recall.model_copy(update={"channels": CHANNELS}),
    }
)

if __name__ == "__main__":
    print(RECIPE.model_dump_json(indent=2))
