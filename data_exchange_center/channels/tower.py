"""Recall channel: a two-tower factorization machine over history and profile."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from data_exchange_center.channels.contract import Fitted, VectorRecipe
from data_exchange_center.channels.history_sum import HistorySum

if TYPE_CHECKING:
    from data_exchange_center.recipes import DataRecipe
    from offline.data.sequences import Inputs, Sequences


class TowerRecipe(VectorRecipe):
    """Trained by a softmax over the items; user vector: profile, weighted sums over the history, a layer of these."""

    served: ClassVar[type[HistorySum]] = HistorySum
    together: ClassVar[bool] = True

    kind: Literal["tower"] = "tower"
    name: str = "tower"
    dim: int = 64
    fields: int = 2  # history fields, each with item rows of its own
    hidden: int = 512  # units of a layer that is added to the sums; 0: none
    start: Literal["random", "followers"] = "followers"  # of the films' rows: followers, factors of what follows what
    dropout: float = 0.3  # of events
    epochs: int = 3
    batch_size: int = 512  # request points
    learning_rate: float = 5e-3
    weight_decay: float = 0.01
    stride: int = 7  # events between request points
    horizon: int = 7  # events after a request whose liked items are its targets
    user_balance: float = 0.3  # a target weighs (events of its user) ** -this: 0 trains for the most active users
    request_balance: float = 0.5  # ... times (targets of its request) ** -this
    sampled_beyond: int = 20_000  # items: where there are more, a batch's softmax is over a sample of them
    sampled_items: int = 4096  # of a sample, on average
    seed: int = 0

    def fit(self, past: Sequences, inputs: Inputs, data: DataRecipe) -> Fitted:
        from offline.training.fit import curves
        from offline.training.tower import train_tower

        cardinalities = [feature.cardinality for feature in inputs.profile]
        tower, losses = train_tower(
            past, inputs.genres, inputs.profiles, cardinalities, inputs.dataset, self, data.history
        )
        return Fitted(tower.channel(self.name, past.rated()), curves(losses))
