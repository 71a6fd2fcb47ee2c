"""Recall channel: EASE in its low-rank form, a linear item-item model (Steck 2019)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from data_exchange_center.channels.contract import Fitted, VectorRecipe
from data_exchange_center.channels.history_sum import HistorySum

if TYPE_CHECKING:
    from data_exchange_center.recipes import DataRecipe
    from offline.data.sequences import Inputs, Sequences


class EaseRecipe(VectorRecipe):
    """The user vector is a weighted sum over the history; nothing is trained by gradient descent."""

    served: ClassVar[type[HistorySum]] = HistorySum

    kind: Literal["ease"] = "ease"
    name: str = "ease"
    dim: int = 64
    l2: float = 1000.0
    power: float = 0.75  # an event's weight is (lag + 1) ** -power
    low_rank_beyond: int = 10_000  # items: where there are more, no matrix of items x items is made
    eigenvectors: int = 256  # of what is seen together, which stand for it then
    seed: int = 0

    def fit(self, past: Sequences, inputs: Inputs, data: DataRecipe) -> Fitted:
        from offline.training.item_item import ease_channel

        return Fitted(ease_channel(past, self, data.history, inputs.dataset))
