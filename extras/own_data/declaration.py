"""Schema of ``dataset.toml``, which declares what a data set's files and columns mean.

`parse` reads one; every mistake in it is one sentence that names the file, the key and what was expected.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from data_exchange_center.dataset import SEPARATOR, Effect, HoldoutRule, Repeats
from data_exchange_center.event_types import TypeRules
from data_exchange_center.recipes import NAME, Frozen, recipe_called
from data_exchange_center.steps import StepError

MOST_LEVELS: Final = 10  # a model has a weight for each
DECLARATION: Final = "dataset.toml"
# the tables, and names of their files
INTERACTIONS, USERS, ITEMS = "interactions", "users", "items"
TimeUnit = Literal["s", "ms", "us", "iso"]
Kind = Literal["categorical", "multi-valued", "numeric"]
# reserved names: fields of answers and tables
TAKEN: Final = frozenset({"id", "itemid", "userid", "title", "score"})


class AttributeSpec(Frozen):
    """An attribute of users or items; in the file its kind alone is enough.

    Attributes:
        column: its name in the file; default: the attribute's name.
        values: how many values are kept: the most frequent ones if categorical or multi-valued, the quantile intervals
            of a user's numeric one.
        scale, centres, width: of an item's numeric one, as in `ItemNumber`; default: fitted to the values.
    """

    kind: Kind
    column: str | None = None
    values: int | None = Field(default=None, ge=2, le=5000)
    scale: float | None = Field(default=None, gt=0)
    centres: tuple[float, ...] | None = Field(default=None, min_length=1)
    width: float | None = Field(default=None, gt=0)

    @model_validator(mode="before")
    @classmethod
    def _kind_alone(cls, value: Any) -> Any:
        return {"kind": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _centres_have_a_width(self) -> Self:
        if (self.centres is None) != (self.width is None):
            raise ValueError("centres and width are given together or not at all")
        return self


class DeclaredTable(Frozen):
    """A table of the data set.

    Attributes:
        file: its name; default: the table's, with the ending .csv, .csv.gz or .parquet.
        delimiter: between the columns of a CSV; default: detected.
    """

    file: str | None = None
    delimiter: str | None = Field(default=None, min_length=1, max_length=1)


class InteractionsTable(DeclaredTable):
    """Events: a user, an item, a time. Without ``value`` every event is liked (implicit feedback).

    Attributes:
        time_unit: of numbers since 1970, or "iso" for times written out.
        time_format: `strftime` format of times that are not ISO 8601: ``%d/%m/%Y``.
        type: the column of the event's type, where `Declaration.types` says what each means.
    """

    user: str
    item: str
    time: str
    time_unit: TimeUnit = "s"
    time_format: str | None = Field(default=None, pattern="%")
    value: str | None = None
    positive_above: float | None = None
    type: str | None = None

    @model_validator(mode="after")
    def _a_value_is_liked_above_something(self) -> Self:
        if (self.value is None) != (self.positive_above is None):
            raise ValueError(
                "value, a column, and positive_above, above which an event is liked, are given together or not at all"
            )
        if self.type is not None and self.value is not None:
            raise ValueError("give type or value, not both: a type has a weight")
        return self


class ListedTable(DeclaredTable):
    """A table of ids, as that of the users.

    Attributes:
        keep: the row that counts for an id in several rows, as in a log that repeats its users' attributes; default: an
            id may be listed only once.
    """

    id: str
    keep: Literal["last"] | None = None
    attributes: Mapping[str, AttributeSpec] = {}
    # between the values of a multi-valued attribute
    separator: str = Field(default="|", min_length=1)

    @field_validator("attributes")
    @classmethod
    def _names_are_free(
        cls, attributes: Mapping[str, AttributeSpec]
    ) -> Mapping[str, AttributeSpec]:
        for name in attributes:
            if name in TAKEN or SEPARATOR in name:
                raise ValueError(
                    f"{name!r} cannot be the name of an attribute: call it otherwise, "
                    f'as in other = {{ kind = "categorical", column = "{name}" }}'
                )
        return attributes


class ItemsTable(ListedTable):
    """The items and what is known of them; ``title``: a column; default: the id."""

    title: str | None = None


class Declaration(Frozen):
    """A whole data set.

    Attributes:
        repeats: whether items that a user has had are recommended again.
        recipe: name of the recipe used in place of `default`.
        events: types of events that a running server accepts, as `Dataset.events`.
        types: what the events of each type mean, by the values of `InteractionsTable.type`.
    """

    name: str = Field(min_length=1, max_length=100, pattern=rf"^{NAME}$")
    repeats: Repeats = "never"
    recipe: str | None = None
    interactions: InteractionsTable
    users: ListedTable | None = None
    items: ItemsTable | None = None
    holdout: HoldoutRule = HoldoutRule(share=0.1)
    events: Mapping[Annotated[str, Field(pattern=r"^[\w.-]{1,64}$")], Effect] = {}
    types: dict[Annotated[str, Field(min_length=1, max_length=64)], TypeRules] = Field(
        default={}, max_length=MOST_LEVELS, validate_default=True
    )

    @field_validator("types")
    @classmethod
    def _of_a_column_with_a_target(
        cls, types: dict[str, TypeRules], info: ValidationInfo
    ) -> dict[str, TypeRules]:
        interactions = info.data.get("interactions")
        if interactions is None:  # refused already
            return types
        if (interactions.type is None) != (not types):
            raise ValueError(
                "type in [interactions], a column, and a line for each of its values in [types] are given together or "
                "not at all"
            )
        if types and not any(each.target for each in types.values()):
            raise ValueError("no type has target = true: nothing could be recommended")
        return types

    @field_validator("recipe")
    @classmethod
    def _there_is_such_a_recipe(cls, name: str | None) -> str | None:
        if name is not None:
            recipe_called(name)
        return name


def parse(text: str, where: str = DECLARATION) -> Declaration:
    """Parse the ``text`` of a ``dataset.toml``. Raises StepError, naming the key, where it is invalid."""
    try:
        return Declaration.model_validate(tomllib.loads(text))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        problem = first["msg"].removeprefix("Value error, ")
        raise StepError(f"{where}: {key}: {problem}.") from error
    except tomllib.TOMLDecodeError as error:
        raise StepError(f"{where} is not TOML: {error}.") from error
