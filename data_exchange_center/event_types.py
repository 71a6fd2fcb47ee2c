"""Types of events, such as view, cart and buy: what an event of a type says of its user and its item.

In a data set with types an event's code is its type's place in `Dataset.types`, from 1, where another data set has the
code of a rating. So every model that reads ratings reads types. Targets come last: codes above
`Dataset.positive_level` are targets, as they are likes elsewhere.
"""

from collections.abc import Mapping, Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from data_exchange_center.recipes import Frozen


class TypeRules(Frozen):
    """What an event of a type means.

    Attributes:
        weight: of the event in a user's history, and of a target in the losses and in the score.
        history: whether models read it.
        target: whether items are recommended because such an event may follow.
        negative: whether it says that the user does not want the item, as a return does.
        has: whether the user has the item from then on, which is not recommended again.
    """

    weight: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    history: bool = True
    target: bool = False
    negative: bool = False
    has: bool = False

    @model_validator(mode="after")
    def _wanted_or_not(self) -> Self:
        if self.negative and self.target:
            raise ValueError("a type is negative or a target, not both")
        if self.target and not self.weight:
            raise ValueError("a target needs a weight above 0")
        return self

    @property
    def is_read(self) -> bool:
        """Whether anything reads such events; else they are left out."""
        return self.history or self.target or self.negative or self.has


class EventType(TypeRules):
    """A type, by its name in the data."""

    name: str


def in_order(rules: Mapping[str, TypeRules]) -> tuple[EventType, ...]:
    """The types in the order of their codes: as declared, targets last."""
    types = [EventType(name=name, **dict(each)) for name, each in rules.items()]
    return tuple(sorted(types, key=lambda each: each.target))


def weights(types: Sequence[EventType]) -> NDArray[np.float32]:
    """(types + 1,) weight of each code in a user's history: below 0 of negative ones, 0 of what no model reads."""
    found = [0.0]
    for each in types:
        sign = -1 if each.negative else 1
        found.append(sign * each.weight * each.history)
    return np.array(found, np.float32)


def targets(types: Sequence[EventType]) -> tuple[EventType, ...]:
    """The types that are targets, in the order of their codes: each is an objective of the list ranker."""
    return tuple(each for each in types if each.target)


def heaviest(types: Sequence[EventType]) -> str | None:
    """Name of the target with the largest weight, such as a purchase; None without types."""
    found = max(targets(types), key=lambda each: each.weight, default=None)
    return found.name if found else None


def had(
    types: Sequence[EventType], codes: NDArray[np.integer], allows_repeats: bool
) -> NDArray[np.bool_]:
    """(n,) codes -> whether each event's item is not recommended to its user again."""
    if allows_repeats or not types:
        return np.full(np.shape(codes), not allows_repeats)
    by_code = np.array([False, *(each.has for each in types)])
    found: NDArray[np.bool_] = by_code[codes]
    return found
