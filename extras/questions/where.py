"""Filter lists by attributes and ids of items, inside the search and on the popular list.

The server holds the attributes of all items, and evaluates a request's conditions on them. Recall's channels search
only among the items that pass (pre-filtering), so that they find fifty where there are fifty.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Annotated, Any, Final, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Discriminator, Field, PrivateAttr, Tag

from data_exchange_center.candidates import StoredUser
from extras.questions.rank import kept, numbers_of
from extras.routes import no_attribute, no_value, per_release
from online.recommend.loaded_release import Release
from online.recommend.outcomes import NO_MORE, BadRequestError
from online.recommend.types import Answer, Request, Slate, UserId, absent_by_default

MAX_IDS: Final = 10_000  # of a list
_MAX_VALUES: Final = 100
FILTERED: Final = (
    "filter",
    "The filter leaves no more items that may be shown to this user.",
)

Mask = NDArray[np.bool_]
Number = Annotated[float, Field(allow_inf_nan=False)]
Values = Annotated[list[str | Number], Field(min_length=1, max_length=_MAX_VALUES)]


class Condition(BaseModel):
    """What an attribute has to be: all that is given here."""

    model_config = ConfigDict(
        frozen=True, strict=True, extra="forbid", json_schema_extra={"minProperties": 1}
    )

    any: Values = Field(
        default_factory=list, description="at least one of these values"
    )
    all: Values = Field(default_factory=list, description="each of these values")
    none: Values = Field(
        default_factory=list,
        description="none of these values; what has no value at all passes",
    )
    gte: Number = Field(
        default_factory=lambda: -inf, description="a number from this on"
    )
    lte: Number = Field(default_factory=lambda: inf, description="a number up to this")


# a tag for each kind, so that an error is about the kind that was meant
_Wanted = Annotated[
    Annotated[Values, Tag("Values")] | Annotated[Condition, Tag("Condition")],
    Discriminator(
        lambda given: "Condition" if isinstance(given, dict | Condition) else "Values"
    ),
]
Where = Annotated[dict[str, _Wanted], Field(max_length=20)]
Ids = Annotated[list[UserId], Field(max_length=MAX_IDS)]
FIELDS: Final = ("where", "exclude", "only")


class FilterRequest(Request):
    """With the items that the list is limited to."""

    where: Where = Field(
        default={},
        description="attribute -> the values that an item may have, or a condition",
    )
    exclude: Ids = Field(
        default=[], description="items that are left out, like seen ones"
    )
    only: Ids = Field(
        default=[], description="where it is given, no other items are in the list"
    )
    # looked up once, for all stages
    _allowed: tuple[Release, Mask] | None = PrivateAttr(default=None)


class FilterAnswer(Answer):
    """With the number of items that a filter leaves."""

    matching: int | None = absent_by_default(
        None,
        "with where, exclude or only: how many items of the release they leave, seen ones among them",
    )


@dataclass(frozen=True, eq=False)
class Attributes:
    """The items of a catalogue by their attributes.

    Attributes:
        itemids: (n,) ascending.
        places: attribute -> value -> places of the items that have it.
        numbers: attribute -> (n,) values, NaN where there is none.
    """

    itemids: NDArray[np.int64]
    places: Mapping[str, Mapping[str | float, list[int]]]
    numbers: Mapping[str, NDArray[np.float64]]

    @classmethod
    def of(cls, items: Mapping[int, Mapping[str, Any]]) -> Self:
        """Index items by attribute. ``items``: number -> attributes, as in `CatalogueItem`."""
        places: dict[str, dict[str | float, list[int]]] = {}
        numbers: dict[str, NDArray[np.float64]] = {}
        itemids = sorted(items)
        for place, itemid in enumerate(itemids):
            for name, value in items[itemid].items():
                values = value if isinstance(value, list) else []
                if isinstance(value, int | float):
                    values = [value]
                    column = numbers.setdefault(name, np.full(len(items), np.nan))
                    column[place] = value
                for each in values:
                    places.setdefault(name, {}).setdefault(each, []).append(place)
        return cls(np.array(itemids, np.int64), places, numbers)

    def select(self, where: Mapping[str, Sequence[str | float] | Condition]) -> Mask:
        """(n,) the items that meet all conditions. Raises BadRequestError for what no item has."""
        chosen = np.ones(len(self.itemids), np.bool_)
        for name, wanted in where.items():
            if name not in self.places:
                raise no_attribute("where", name, self.places)
            if not isinstance(wanted, Condition):
                wanted = Condition.model_construct(any=wanted)
            if wanted.any:
                having = [self._having(name, value) for value in wanted.any]
                chosen &= np.any(having, axis=0)
            for value in wanted.all:
                chosen &= self._having(name, value)
            for value in wanted.none:
                chosen &= ~self._having(name, value)
            if (wanted.gte, wanted.lte) != (-inf, inf):
                if name not in self.numbers:
                    raise BadRequestError(
                        "where", f"{name} has names for values: use any, all or none."
                    )
                numbers = self.numbers[name]
                chosen &= (numbers >= wanted.gte) & (numbers <= wanted.lte)
        return chosen

    def _having(self, name: str, value: str | float) -> Mask:
        """(n,) the items that have a value. Raises BadRequestError, with the values that there are, where none has."""
        there = self.places[name]
        if value not in there:
            raise no_value("where", name, f"{value}", sorted(map(str, there)))
        having = np.zeros(len(self.itemids), np.bool_)
        having[there[value]] = True
        return having


@per_release
def attributes_of(opened: Release) -> Attributes:
    return Attributes.of(
        {itemid: item.attributes for itemid, item in opened.catalogue.items()}
    )


# --- what a filter does to a request


def limit_search(request: Any, opened: Release, user: StoredUser) -> StoredUser:
    """The user of a `FilterRequest`, with the items that channels may find. Raises BadRequestError."""
    itemids, allowed = attributes_of(opened).itemids, _allowed(request, opened)
    if user.is_blank:  # and gets the popular list
        return user
    if 2 * allowed.sum() <= len(allowed):
        return replace(user, only=itemids[allowed])
    return user.without(itemids[~allowed])


def limit_popular(slate: Slate) -> None:
    """Limit a popular list, and count what is left. Raises BadRequestError."""
    request: Any = slate.request
    # a search by words has given a reason of its own
    if slate.end == NO_MORE:
        slate.end = FILTERED
    allowed = _allowed(request, slate.release)
    slate.more["matching"] = int(allowed.sum())
    if slate.candidates is None:  # the popular list
        itemids = attributes_of(slate.release).itemids[allowed]
        slate.ranked = kept(slate.ranked, np.isin(slate.ranked.item_numbers, itemids))


def allowed_items(request: Any, opened: Release) -> NDArray[np.int64] | None:
    """Numbers of the items that pass a request's filter; None: it has none."""
    if request.model_fields_set.isdisjoint(FIELDS):
        return None
    return attributes_of(opened).itemids[_allowed(request, opened)]


def _allowed(request: FilterRequest, opened: Release) -> Mask:
    """(n,) which of the release's items pass."""
    if request._allowed is None or request._allowed[0] is not opened:
        attributes = attributes_of(opened)
        allowed = attributes.select(request.where)
        if "only" in request.model_fields_set:
            only = numbers_of(request.only, "only", opened)
            allowed &= np.isin(attributes.itemids, only)
        excluded = numbers_of(request.exclude, "exclude", opened)
        allowed &= ~np.isin(attributes.itemids, excluded)
        request._allowed = opened, allowed
    return request._allowed[1]
