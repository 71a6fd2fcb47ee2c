"""Recipes: named configurations of a recommender, its models and their hyperparameters.

A recipe is settings, not code: the same steps, sync and server read it, and none of them asks for its name. It names
its recall channels and its ranker (`rankers.registry`) by ``kind``; training and serving look that up.

``source`` has the shapes and hyperparameters of the project that this one is faithful to; ``default`` is the best one.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from data_exchange_center.frozen import Need, TrainRecipe
from data_exchange_center.rankers.deepfm import DeepFMRecipe
from data_exchange_center.rankers.list_ranker import ListRankerRecipe
from data_exchange_center.rankers.registry import AnyRankerRecipe


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DataRecipe(_Frozen):
    """Split and window. What is liked and what is held out are the data set's own (`Dataset`)."""

    train_share: float = 0.8  # of what is not held out, the first rows of every user
    validation_share: float = 0.1  # of the training rows, the last rows of every user; models are chosen on them
    window: int = 10  # interactions behind a user's genre statistics, in training and in serving
    clicks_for_preference: int = 3  # clicks within the window that make a genre a preferred one
    history: int = 100  # newest interactions of a user that recall looks at


# --- recall channels --------------------------------------------------------------------------------------------------


class _Channel(_Frozen):
    """How a channel is searched, and its weight in the fusion. ``needs``: what a data set must have."""

    needs: ClassVar[frozenset[Need]] = frozenset()
    name: str
    term_weight: float = 0.0  # > 0: an item with one of the user's preferred genres earns this in the same search
    vector_weight: float = 1.0  # of an item's inner product with the user's vector
    fusion_weight: float = 1.0  # of the channel's ranks among the channels'


class FMRecipe(_Channel):
    """Factorization machine on userid and itemid, trained on rated pairs: one stored vector a user."""

    needs: ClassVar[frozenset[Need]] = frozenset({"dislikes"})
    kind: Literal["fm"] = "fm"
    name: str = "fm"
    dim: int = 16
    train: TrainRecipe


class TowerRecipe(_Channel):
    """Two-tower factorization machine over history and profile, trained by a softmax over all items."""

    kind: Literal["tower"] = "tower"
    name: str = "tower"
    dim: int = 64
    fields: int = 2  # history fields, each with item rows of its own
    dropout: float = 0.2  # of events
    epochs: int = 5
    batch_size: int = 512  # request points
    learning_rate: float = 5e-3
    weight_decay: float = 0.01
    stride: int = 10  # events between request points
    horizon: int = 10  # events after a request whose liked items are its targets
    seed: int = 0


class EaseRecipe(_Channel):
    """EASE in its low-rank form: a linear item-item model whose user vector is a weighted sum over the history."""

    kind: Literal["ease"] = "ease"
    name: str = "ease"
    dim: int = 64
    l2: float = 1000.0
    power: float = 0.75  # an event's weight is (lag + 1) ** -power
    seed: int = 0


# How vectors are searched: exactly, all of them, or approximately, along a graph. Among a few thousand items a graph
# saves no time, and it is a poor one where popularity is a dimension and all vectors are equally long: EASE's channel
# loses more than a quarter of its 256 candidates (pic/figures/vector_index.json).
VectorIndex = Literal["flat", "hnsw"]
ChannelRecipe = Annotated[FMRecipe | TowerRecipe | EaseRecipe, Field(discriminator="kind")]


class RecallRecipe(_Frozen):
    """The channels, and what the server asks of Elasticsearch for each of them."""

    channels: tuple[ChannelRecipe, ...]
    candidates: int = 200  # of each channel, and of all of them after fusion
    num_candidates: int = 1000  # neighbours that a vector search brings, per shard; genres add to the scores of these
    index: VectorIndex = "flat"


class Recipe(_Frozen):
    """Everything a recommender is made of."""

    name: str
    data: DataRecipe = DataRecipe()
    recall: RecallRecipe
    ranker: AnyRankerRecipe

    @property
    def needs(self) -> frozenset[Need]:
        """What a data set must have, or the recipe cannot be trained on it."""
        return self.ranker.needs.union(*(channel.needs for channel in self.recall.channels))


SOURCE_FM = FMRecipe(
    term_weight=1.0, train=TrainRecipe(epochs=10, batch_size=4096, learning_rate=0.003, weight_decay=1e-5)
)
SOURCE_DEEPFM = DeepFMRecipe(
    train=TrainRecipe(epochs=10, batch_size=4096, learning_rate=0.01, weight_decay=1e-5, schedule="one_cycle")
)
SOURCE = Recipe(name="source", recall=RecallRecipe(channels=(SOURCE_FM,)), ranker=SOURCE_DEEPFM)
DEFAULT = Recipe(
    name="default",
    # More candidates than the 200 that can be shown: the ranker brings up some of those that fusion put just below.
    recall=RecallRecipe(channels=(TowerRecipe(fusion_weight=2.0), EaseRecipe()), candidates=256, num_candidates=256),
    ranker=ListRankerRecipe(),
)

RECIPES: dict[str, Recipe] = {recipe.name: recipe for recipe in (SOURCE, DEFAULT)}
