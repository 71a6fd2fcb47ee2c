"""How a request ends: the errors, and the outcomes of an answer, with what each says in words."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from data_exchange_center.errors import RecsysError


class BadRequestError(RecsysError):
    """The request cannot be understood.

    Attributes:
        field: one of the request's fields, an unknown field's name, or ``body`` for the whole.
    """

    def __init__(self, field: str, message: str) -> None:
        self.field = field
        super().__init__(message)


class WrongIdError(BadRequestError):
    """An id is not of the kind that the release's users, or items, have."""


class UnknownReleaseError(RecsysError):
    """The requested release is not published, or no longer."""

    def __init__(self, release: str) -> None:
        super().__init__(
            f"No release {release} is published here, or no longer: GET /ml/releases lists them."
        )


class NoReleaseError(RecsysError):
    """Nothing can be served: no release was ever activated."""


class LoadingError(NoReleaseError):
    """The request's release, or any release, is not loaded yet.

    Args:
        release: None: it is not known which one will be active.
        failure: why it could not be loaded the last time.
    """

    def __init__(
        self, release: str | None = None, failure: RecsysError | None = None
    ) -> None:
        self.release = release
        self.failure = failure
        problem = (
            f"Release {release} is loading" if release else "No release is loaded yet"
        )
        if failure is not None:
            problem += f"; the last try failed: {str(failure).rstrip('.')}"
        super().__init__(problem, "Retry in a few seconds.")


class Outcome(StrEnum):
    """Outcome of a request that is answered. All but `PERSONAL` is logged, and stated in the answer."""

    PERSONAL = "personal"
    COLD_START = "cold_start"
    NO_RECALL = "no_recall"
    NO_USER_FEATURES = "no_user_features"
    NO_ITEM_FEATURES = "no_item_features"
    LAST_STATE = "last_state"
    NOT_ENCODED = "not_encoded"
    EXACT_SEARCH = "exact_search"
    LAST_FEATURES = "last_features"
    NOT_RANKED = "not_ranked"
    POPULAR = "popular"


_UNKNOWN_USER = "Unknown user: the items are in the order of popularity."
# Outcome -> what the answer has instead: a word for programs, and the rest of a sentence that begins with the reason
_INSTEAD: Mapping[Outcome, tuple[str, str]] = {
    Outcome.NO_RECALL: (
        "popular_unseen",
        "these are popular unseen items, ranked for the user",
    ),
    Outcome.NO_USER_FEATURES: (
        "recall_order",
        "the items are in recall's order, not ranked",
    ),
    Outcome.NO_ITEM_FEATURES: ("left_out", "those are left out"),
    Outcome.LAST_STATE: ("last_state", "the user's history is the one last known"),
    Outcome.NOT_ENCODED: (
        "other_channels",
        "what an encoder's vectors would find is left out",
    ),
    Outcome.EXACT_SEARCH: (
        "exact_search",
        "the server has searched its own copy of the items",
    ),
    Outcome.LAST_FEATURES: (
        "last_features",
        "the user's features are the ones last known",
    ),
    Outcome.NOT_RANKED: ("recall_order", "the items are in recall's order, not ranked"),
    Outcome.POPULAR: ("popular", "the items are in the order of popularity"),
}


# Why a list is shorter than its request's size: a word for programs, and a sentence.
NO_MORE: Final = (
    "no_more_items",
    "There are no more items that may be shown to this user.",
)


class Degradation(BaseModel):
    """One thing that an answer lacks."""

    model_config = ConfigDict(frozen=True)

    service: str = Field(description="whose part is missing")
    # the rest of a sentence that begins with its name
    reason: str = Field(description="what is wrong with it")
    instead: str = Field(
        description="what the answer has in its place: a word for programs"
    )
    outcome: SkipJsonSchema[Outcome] = Field(default=Outcome.PERSONAL, exclude=True)

    @classmethod
    def of(cls, outcome: Outcome, service: str, reason: str) -> "Degradation":
        """Make one from its outcome, which says what the answer has instead."""
        return cls(
            service=service,
            reason=reason,
            instead=_INSTEAD[outcome][0],
            outcome=outcome,
        )


def sentences(degraded: Sequence[Degradation], *, cold_start: bool) -> str:
    """Explain in sentences what an answer lacks, and why it is not personal."""
    lacks = (
        f"{each.service} {each.reason}: {_INSTEAD[each.outcome][1]}."
        for each in degraded
    )
    return " ".join([*([_UNKNOWN_USER] if cold_start else []), *lacks])
