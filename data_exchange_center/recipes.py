"""Recipes: named configurations of a recommender, its models and their hyperparameters.

A recipe is settings, not code: the same steps, sync and server read it, and none of them asks for its name. It names
its recall channels (`channels.registry`) and its ranker (`rankers.registry`) by ``kind``; training and serving look
that up.

``source`` has the shapes and hyperparameters of the project that this one is faithful to; ``default`` is the best one.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Final, Literal

from pydantic import field_validator

from data_exchange_center.channels.contract import VectorRecipe
from data_exchange_center.channels.ease import EaseRecipe
from data_exchange_center.channels.fm import FMRecipe
from data_exchange_center.channels.registry import AnyChannelRecipe
from data_exchange_center.channels.tower import TowerRecipe
from data_exchange_center.frozen import Frozen, Need, TrainRecipe
from data_exchange_center.rankers.deepfm import DeepFMRecipe
from data_exchange_center.rankers.list_ranker import ListRankerRecipe
from data_exchange_center.rankers.registry import AnyRankerRecipe


class DataRecipe(Frozen):
    """Split and window. What is liked and what is held out are the data set's own (`Dataset`)."""

    train_share: float = 0.8  # of what is not held out, the first rows of every user
    validation_share: float = 0.1  # of the training rows, the last rows of every user; models are chosen on them
    window: int = 10  # interactions behind a user's genre statistics, in training and in serving
    clicks_for_preference: int = 3  # clicks within the window that make a genre a preferred one
    history: int = 100  # newest interactions of a user that recall looks at


# How vectors are searched: exactly, all of them, or approximately, along a graph. Among a few thousand items a graph
# saves no time, and it is a poor one where popularity is a dimension and all vectors are equally long: EASE's channel
# loses more than a quarter of its 256 candidates (pic/figures/vector_index.json).
VectorIndex = Literal["flat", "hnsw"]
_TAKEN: Final = ("fused", "popular")  # lists beside the channels'


class RecallRecipe(Frozen):
    """The channels, and what the server asks of Elasticsearch for those of them that are searched."""

    channels: tuple[AnyChannelRecipe, ...]
    candidates: int = 200  # of each channel, and of all of them after fusion
    num_candidates: int = 1000  # neighbours that a vector search brings, per shard; genres add to the scores of these
    index: VectorIndex = "flat"

    @property
    def searched(self) -> tuple[VectorRecipe, ...]:
        """The channels that have vectors in the index; the others score the items themselves."""
        return tuple(channel for channel in self.channels if isinstance(channel, VectorRecipe))

    @field_validator("channels")
    @classmethod
    def _named_apart(cls, channels: tuple[AnyChannelRecipe, ...]) -> tuple[AnyChannelRecipe, ...]:
        """A channel's name is part of columns, fields and keys."""
        for name, times in Counter(channel.name for channel in channels).items():
            if times > 1 or name in _TAKEN or not re.fullmatch(r"[a-z][a-z0-9_]*", name):
                raise ValueError(
                    f"channel name {name!r}: each has its own, of small letters, digits and _, other than "
                    f"{' and '.join(map(repr, _TAKEN))}"
                )
        return channels


class Recipe(Frozen):
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
# Each of its numbers beside other values: pic/figures/tune_recipe.json, a row "<part>: <number> = <value>" each.
DEFAULT = Recipe(
    name="default",
    # More candidates than the 200 that can be shown: the ranker brings up some of those that fusion put just below.
    recall=RecallRecipe(channels=(TowerRecipe(fusion_weight=4.0), EaseRecipe()), candidates=256, num_candidates=256),
    ranker=ListRankerRecipe(),
)

RECIPES: dict[str, Recipe] = {recipe.name: recipe for recipe in (SOURCE, DEFAULT)}
