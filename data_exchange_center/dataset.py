"""Description of a data set: the ids it gives its users and items, the values of its ratings, its attributes.

It is written once by ``offline/preprocess/s0_get_data.py`` and travels with the release. Inside, users and items are
whole numbers (int32) and ratings are codes, in vectors, histories, features and indexes. Where a data set's own ids
are such numbers, the two are the same.
"""

from collections.abc import Mapping
from typing import Final, Literal, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from data_exchange_center import event_types
from data_exchange_center.event_types import EventType
from data_exchange_center.recipes import NAME, Frozen

OwnId: TypeAlias = int | str
IdKind = Literal["integer", "string"]  # of own ids
MAX_BYTES: Final = 512  # of a string id, in UTF-8
# if all ids are whole numbers from 1 to this, they are used inside too; else strings
MAX_INTEGER: Final = 2**31 - 1


def own_id(text: str, kind: IdKind) -> OwnId:
    """Convert an id from the text that tables hold: ``"7"`` -> 7 where the data set's ids are integers."""
    return int(text) if kind == "integer" else text


# Effect of an event on its user's state, besides its entry in the log. rates: the item joins the history (and is seen);
# hides: it is no longer recommended; retracts: earlier events with it no longer count; notes: none.
Effect = Literal["rates", "hides", "retracts", "notes"]
# whether items that a user has had are recommended again
Repeats = Literal["never", "again"]
WITH_EVENTS, FINAL = (
    "+events",
    "+final",
)  # suffixes of a data set's name: feedback was merged; nothing is held out
SEPARATOR = ": "  # between attribute and value, in the name of a term


class HoldoutRule(Frozen):
    """Holdout of each user's last events for evaluation: a number, a share within bounds (0: none), or a basket.

    The basket is all events of a user's last second, of users who have earlier ones.
    """

    basket: bool = Field(default=False, exclude_if=lambda basket: not basket)
    last: int | None = Field(default=None, ge=1)
    share: float | None = Field(default=None, ge=0, lt=1)
    at_least: int = Field(default=1, ge=0)  # of a share
    at_most: int = Field(default=10, ge=1)  # of a share

    @model_validator(mode="after")
    def _can_hold(self) -> Self:
        if (self.last is not None) + (self.share is not None) + self.basket != 1:
            raise ValueError("give exactly one of last, share, and basket = true")
        if self.share is None and (self.at_least, self.at_most) != (1, 10):
            raise ValueError(
                "at_least and at_most are bounds of a share; remove them, or give a share"
            )
        if self.at_least > self.at_most:
            raise ValueError(
                f"at_least ({self.at_least}) must not be above at_most ({self.at_most})"
            )
        return self

    @property
    def longest(self) -> int | None:
        """The most events that are held out of one user; None: a basket has no limit."""
        return None if self.basket else self.last or self.at_most


class ItemNumber(Frozen):
    """A numeric attribute of items, and how models read it."""

    name: str  # as declared
    column: str  # of `artifacts.ITEMS`, where an unknown value is null
    # a feature store holds whole multiples of it, 0 for an unknown value
    unit: float = 1.0
    scale: float = 1.0  # divisor that makes such a multiple a model's input
    # of radial basis functions that say how near two items are; ``width``: theirs
    centres: tuple[float, ...] = ()
    width: float = 1.0

    def stored(self, values: NDArray[np.floating]) -> NDArray[np.int64]:
        """Values, NaN where unknown -> whole multiples of ``unit``."""
        known = ~np.isnan(values)
        return np.where(
            known, np.rint(np.where(known, values, 0) / self.unit), 0
        ).astype(np.int64)


class Dataset(Frozen):
    """Declaration of a data set: name, ids, columns, levels, holdout."""

    # as declared, or of the published data set that has these counts
    name: str = Field(max_length=120, pattern=rf"^{NAME}(\+events)?(\+final)?$")
    origin: str  # one line that says where it is from
    counts: Mapping[str, int]  # of ratings, users, items and terms
    sha256: Mapping[str, str]  # of the tables in ``offline/raw``, by file name
    # user_ids, item_ids: whether its own ids are whole numbers, which are then used inside too, or strings
    user_ids: IdKind = "integer"
    item_ids: IdKind = "integer"
    # the values that ratings have; the rating of code c is ``levels[c - 1]``, code 0 is padding. One level where events
    # have no value
    levels: tuple[float, ...]
    binned: bool = False  # whether a level stands for an interval of values; the level of a value is then the nearest
    positive_level: int = Field(ge=0)  # codes above it are liked; 0: every event is
    profile: tuple[str, ...] = ()  # columns of `artifacts.USERS`, all categorical
    # those of ``profile`` that the ranker crosses with items
    crossed: tuple[str, ...] = ()
    # names of the items' categorical and multi-valued attributes
    terms: tuple[str, ...] = ()
    numbers: tuple[ItemNumber, ...] = ()  # the items' numeric attributes
    holdout: HoldoutRule  # which events are held out, unless it is ``final``: then all are fitted on
    final: bool = False
    # event types that a server accepts -> effect; empty: the defaults of `event_types`
    events: Mapping[str, Effect] = {}
    repeats: Repeats = Field(
        default="never", exclude_if=lambda repeats: repeats == "never"
    )
    # of events, in the order of their codes; empty: a code is that of a rating
    types: tuple[EventType, ...] = Field(default=(), exclude_if=lambda types: not types)
    # that `default` stands for
    recipe: str | None = Field(default=None, exclude_if=lambda recipe: recipe is None)

    @property
    def base_name(self) -> str:
        """The name without `WITH_EVENTS` and `FINAL`; the events of all variants are logged under it."""
        return self.name.partition("+")[0]

    @property
    def holdout_now(self) -> HoldoutRule:
        """The holdout rule in force: nothing is held out of a final data set."""
        return HoldoutRule(share=0) if self.final else self.holdout

    @property
    def allows_repeats(self) -> bool:
        """Whether items that a user has had already are recommended again."""
        return self.repeats == "again"

    @property
    def has_values(self) -> bool:
        """Whether events have values."""
        return len(self.levels) > 1 and not self.types

    def had(self, codes: NDArray[np.integer]) -> NDArray[np.bool_]:
        """(n,) events' codes -> whether their items are not recommended to their users again."""
        return event_types.had(self.types, codes, self.allows_repeats)

    @property
    def event_types(self) -> Mapping[str, Effect]:
        """Type -> effect: those declared, or the usual ones."""
        rates = "rating" if self.has_values else "click"
        usual: dict[str, Effect] = {
            "click": "notes",
            "view": "notes",
            "hide": "hides",
            "undo": "retracts",
        }
        if not self.types:
            return self.events or usual | {rates: "rates"}
        typed: dict[str, Effect] = {
            each.name: "rates" if each.is_read else "notes" for each in self.types
        }
        return {**(self.events or usual), **typed}

    def code(self, value: float | None, kind: str = "") -> int | None:
        """The code of an event by its type (``kind``), where the data set has types, or by its value.

        1 where events have no value, the nearest where `binned`; None: no such value or type.
        """
        if self.types:
            names = [each.name for each in self.types]
            return names.index(kind) + 1 if kind in names else None
        if not self.has_values:
            return 1
        if value is None:
            return None
        if self.binned:
            return 1 + min(
                range(len(self.levels)), key=lambda n: abs(self.levels[n] - value)
            )
        return self.levels.index(value) + 1 if value in self.levels else None

    @property
    def word(self) -> str:
        """The word for a term in messages: "genre" where genres are the only attribute."""
        return "genre" if self.terms == ("genres",) else "term"

    def term(self, attribute: str, value: str) -> str:
        """The name of a term: its value, with the attribute before it where there are several."""
        return value if len(self.terms) == 1 else f"{attribute}{SEPARATOR}{value}"

    def attribute_and_value(self, term: str) -> tuple[str, str]:
        """Inverse of `term`; no attribute's name holds `SEPARATOR`."""
        if len(self.terms) == 1:
            return self.terms[0], term
        attribute, _, value = term.partition(SEPARATOR)
        return attribute, value
