"""A recipe with some of its values changed."""

from __future__ import annotations

from typing import Any, TypeVar

from data_exchange_center.recipes import DeepFMRecipe, FMRecipe

Changed = TypeVar("Changed", FMRecipe, DeepFMRecipe)
Change = dict[str, Any]


def changed(recipe: Changed, change: Change) -> Changed:
    """``recipe`` with other values, of the model or of its training."""
    of_training = {key: value for key, value in change.items() if key in type(recipe.train).model_fields}
    of_model = {key: value for key, value in change.items() if key not in of_training}
    return recipe.model_copy(update={**of_model, "train": recipe.train.model_copy(update=of_training)})
