"""The kinds of recall channels: a new one has a file beside this one and its recipe in `KINDS`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, SerializeAsAny

from data_exchange_center.channels.contract import Channel, ChannelRecipe
from data_exchange_center.channels.ease import EaseRecipe
from data_exchange_center.channels.fm import FMRecipe
from data_exchange_center.channels.tower import TowerRecipe

KINDS: list[type[ChannelRecipe]] = [FMRecipe, TowerRecipe, EaseRecipe]


def kind_of(recipe: type[ChannelRecipe]) -> str:
    """What a recipe of this kind says of itself."""
    return str(recipe.model_fields["kind"].default)


def form_of(form: str) -> type[Channel]:
    """The class of a fitted channel within a release. Raises ValueError when no kind is served by it."""
    for recipe in KINDS:
        if recipe.served.form == form:
            return recipe.served
    raise ValueError(f"no kind of channel is served as {form!r}")


def _of_its_kind(value: Any) -> Any:
    """A recipe as JSON has it -> an instance of its kind's class."""
    if not isinstance(value, Mapping):
        return value
    for recipe in KINDS:
        if kind_of(recipe) == value.get("kind"):
            return recipe.model_validate(value)
    raise ValueError(f"no kind of channel is called {value.get('kind')!r}; there are: {', '.join(map(kind_of, KINDS))}")


AnyChannelRecipe = Annotated[SerializeAsAny[ChannelRecipe], BeforeValidator(_of_its_kind)]
