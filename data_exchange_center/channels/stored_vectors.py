"""A form of channel: one learned vector a user, stored with the user's state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from data_exchange_center.channels.contract import VectorChannel
from data_exchange_center.channels.requests import Float32, Requests


@dataclass(frozen=True, eq=False)
class StoredVectors(VectorChannel):
    """The request brings the user's vector; a release holds them in `artifacts.USER_VECTORS` and not here.

    Attributes:
        users: (users, d) in the order of the users it was fitted on; NaN for a user it was not trained on.
        items: (items + 1, d).
        trained: (items + 1,) False for padding and items it was not trained on.
    """

    form: ClassVar[str] = "stored_vectors"

    users: Float32
    items: Float32
    trained: NDArray[np.bool_]

    def user_vectors(self, requests: Requests) -> Float32:
        return requests.stored[self.name]

    def item_vectors(self) -> Float32:
        return self.items
