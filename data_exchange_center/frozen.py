"""What configurations are made of: pydantic models that are never changed and take no unknown key."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """A part of a configuration."""

    model_config = ConfigDict(frozen=True, extra="forbid")


# What a recipe may need of a data set: events that are not liked; items with a categorical or multi-valued attribute.
Need = Literal["dislikes", "terms"]


class TrainRecipe(Frozen):
    """One training run of a click model."""

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    schedule: Literal["constant", "one_cycle"] = "constant"
    seed: int = 0
