"""The kinds of rankers: a new one has a file beside this one and its recipe in `KINDS`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, SerializeAsAny

from data_exchange_center.rankers.contract import RankerRecipe
from data_exchange_center.rankers.deepfm import DeepFMRecipe
from data_exchange_center.rankers.list_ranker import ListRankerRecipe

KINDS: list[type[RankerRecipe]] = [DeepFMRecipe, ListRankerRecipe]


def kind_of(recipe: type[RankerRecipe]) -> str:
    """What a recipe of this kind says of itself."""
    return str(recipe.model_fields["kind"].default)


def ranker_called(kind: object) -> type[RankerRecipe]:
    """The recipe's class of a kind. Raises ValueError when there is none."""
    for recipe in KINDS:
        if kind_of(recipe) == kind:
            return recipe
    raise ValueError(f"no kind of ranker is called {kind!r}; there are: {', '.join(map(kind_of, KINDS))}")


def _of_its_kind(value: Any) -> Any:
    """A recipe as JSON has it -> an instance of its kind's class."""
    return ranker_called(value.get("kind")).model_validate(value) if isinstance(value, Mapping) else value


AnyRankerRecipe = Annotated[SerializeAsAny[RankerRecipe], BeforeValidator(_of_its_kind)]
