"""Recipes: the numbers that make one recommender rather than another.

A recipe is settings, not code: the same steps, sync and server read it, and nothing asks which one it is.
``source`` has the shapes and hyperparameters of the project this one is faithful to.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DataRecipe(_Frozen):
    """Labels, split and window."""

    positive_above: int = 3  # a rating above this is a click
    online_last: int = 10  # interactions of every user kept for online evaluation
    train_share: float = 0.8  # of the rest, the first rows of every user
    validation_share: float = 0.1  # of the training rows, the last rows of every user; models are chosen on them
    window: int = 10  # interactions behind a user's genre statistics, in training and in serving
    clicks_for_preference: int = 3  # clicks within the window that make a genre a preferred one


class TrainRecipe(_Frozen):
    """One training run of a model."""

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    schedule: Literal["constant", "one_cycle"] = "constant"
    seed: int = 0


class FMRecipe(_Frozen):
    """Factorization machine on userid and itemid."""

    dim: int = 16
    train: TrainRecipe


class DeepFMRecipe(_Frozen):
    """Sparse FM with two embedding widths plus an MLP over the dense features."""

    id_dim: int = 16  # userid, itemid
    side_dim: int = 2  # all other sparse features
    hidden: tuple[int, ...] = (64, 32)
    dropout: float = 0.0  # of the MLP; made no difference on validation
    train: TrainRecipe


class RecallRecipe(_Frozen):
    """What the server asks of Elasticsearch."""

    candidates: int = 200
    num_candidates: int = 1000  # breadth of the approximate vector search, per shard
    term_weight: float = 1.0
    vector_weight: float = 1.0


class Recipe(_Frozen):
    """Everything a recommender is made of."""

    name: str
    data: DataRecipe = DataRecipe()
    fm: FMRecipe
    deepfm: DeepFMRecipe
    recall: RecallRecipe = RecallRecipe()


SOURCE = Recipe(
    name="source",
    fm=FMRecipe(train=TrainRecipe(epochs=10, batch_size=4096, learning_rate=0.003, weight_decay=1e-5)),
    deepfm=DeepFMRecipe(
        train=TrainRecipe(epochs=10, batch_size=4096, learning_rate=0.01, weight_decay=1e-5, schedule="one_cycle")
    ),
)

RECIPES: dict[str, Recipe] = {recipe.name: recipe for recipe in (SOURCE,)}
