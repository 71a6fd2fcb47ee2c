"""Types of a request's stages, in this order: Request -> StoredUser -> Candidates -> Ranked -> Answer.

`StoredUser` and `Candidates` are in `data_exchange_center.candidates`.

The models are the ones that the API describes, and extras add fields to two of them (`online.web.parts`).
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PrivateAttr, TypeAdapter

from data_exchange_center.dataset import MAX_BYTES, MAX_INTEGER, IdKind, OwnId, own_id
from data_exchange_center.errors import RecsysError
from online.clients.base import Deadline, GoneError, ServiceError
from online.clients.elastic import CatalogueItem
from online.clients.triton import ScoreQuery

MAX_SIZE = 200
MAX_TIMESTAMP = 2**32 - 1  # seconds, in the year 2106: one beyond it is not in seconds
MIN_BUDGET_MS, MAX_BUDGET_MS = 20, 10_000
RELEASE = r"^[0-9a-f]{12}$"  # a release's id
FUSED = "fused"  # how `explain` calls the list that the channels' lists were fused to


def _storable(text: str) -> str:
    if not 1 <= len(text.encode()) <= MAX_BYTES:
        raise ValueError(f"its length is not 1 to {MAX_BYTES} bytes")
    return text


OwnText = Annotated[str, Field(min_length=1, max_length=MAX_BYTES), AfterValidator(_storable)]
UserId = Annotated[int, Field(ge=1, le=MAX_INTEGER)] | OwnText
Size = Annotated[int, Field(ge=1, le=MAX_SIZE)]
# Seconds since 1970-01-01 UTC; now, where none is given
Timestamp = Annotated[int, Field(ge=0, le=MAX_TIMESTAMP, default_factory=lambda: int(time.time()))]


class Request(BaseModel):
    """A request for a list. Strict: no number in quotes, and no unknown field.

    ``userid`` is an own id of the data set, of the kind that `check_userid` checks.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    userid: UserId
    size: Size = 50
    timestamp: Timestamp
    explain: bool | Literal["recall"] = (
        False  # "recall": what recall found; true: why each item is there (extras/explain)
    )
    budget_ms: Annotated[int, Field(ge=MIN_BUDGET_MS, le=MAX_BUDGET_MS, default_factory=int)]  # 0: not given
    strict: bool = False  # rather no answer than one without a service: for checks and measurements
    release: Annotated[str, Field(pattern=RELEASE)] | None = None  # instead of the live one

    @property
    def fewest(self) -> int:
        """How many candidates there have to be: recall completes a shorter list."""
        return self.size

    @property
    def before(self) -> int | None:
        """Second before which events are known. None: all that was acknowledged, even in this second.

        So a rating counts at once for a request that names no time.
        """
        return self.timestamp if "timestamp" in self.model_fields_set else None


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


def read_id(field: str, text: str, kind: IdKind) -> OwnId:
    """Parse an id from a URL, as a number or string like the release's ids. Raises WrongIdError."""
    if kind == "integer" and not (re.fullmatch(r"[1-9]\d{0,9}", text, re.ASCII) and int(text) <= MAX_INTEGER):
        raise WrongIdError(field, f"{field} must be a whole number from 1 to {MAX_INTEGER} in this release.")
    return own_id(text, kind)


def is_of_kind(userid: OwnId, kind: IdKind) -> bool:
    """Whether an id is of a release's kind: 7 and "7" would be the same user. 0, nobody, is of both."""
    return not userid or kind == ("string" if isinstance(userid, str) else "integer")


def check_userid(userid: OwnId, kind: IdKind) -> None:
    """Raise WrongIdError unless an id is of the release's kind."""
    if is_of_kind(userid, kind):
        return
    if kind == "string":
        raise WrongIdError("userid", f'userid must be a string in this release, for example {{"userid": "{userid}"}}.')
    raise WrongIdError("userid", 'userid must be a whole number from 1 on in this release, for example {"userid": 1}.')


class UnknownReleaseError(RecsysError):
    """The requested release was never live, or is no longer kept."""

    def __init__(self, release: str) -> None:
        super().__init__(
            f"No release {release} was ever live here, or it is kept no longer: GET /ml/releases lists them."
        )


class NoReleaseError(RecsysError):
    """Nothing can be served: no release was ever put live, or the live one cannot be opened."""


class LoadingError(NoReleaseError):
    """The request's release is being loaded, for longer than the request waits."""

    def __init__(self, release: str) -> None:
        self.release = release
        super().__init__(f"Release {release} is loading; retry in a few seconds.")


class Outcome(StrEnum):
    """Outcome of a request that is answered. All but `PERSONAL` is logged, and stated in the answer."""

    PERSONAL = "personal"
    COLD_START = "cold_start"
    NO_RECALL = "no_recall"
    NO_USER_FEATURES = "no_user_features"
    NO_ITEM_FEATURES = "no_item_features"
    LAST_STATE = "last_state"
    EXACT_SEARCH = "exact_search"
    LAST_FEATURES = "last_features"
    NOT_RANKED = "not_ranked"
    POPULAR = "popular"


# Outcomes without a service. The others are of full quality: the data has no more on the user or the item.
WITHOUT_A_SERVICE: Final = frozenset(
    {Outcome.LAST_STATE, Outcome.EXACT_SEARCH, Outcome.LAST_FEATURES, Outcome.NOT_RANKED, Outcome.POPULAR}
)
_UNKNOWN_USER = "Unknown user: the items are in the order of popularity."
# Outcome -> what the answer has instead: a word for programs, and the rest of a sentence that begins with the reason
_INSTEAD: Mapping[Outcome, tuple[str, str]] = {
    Outcome.NO_RECALL: ("popular_unseen", "these are popular unseen items, ranked for the user"),
    Outcome.NO_USER_FEATURES: ("recall_order", "the items are in recall's order, not ranked"),
    Outcome.NO_ITEM_FEATURES: ("left_out", "those are left out"),
    Outcome.LAST_STATE: ("last_state", "the user's history is the one last known"),
    Outcome.EXACT_SEARCH: ("exact_search", "the server has searched its own copy of the vectors"),
    Outcome.LAST_FEATURES: ("last_features", "the user's features are the ones last known"),
    Outcome.NOT_RANKED: ("recall_order", "the items are in recall's order, not ranked"),
    Outcome.POPULAR: ("popular", "the items are in the order of popularity"),
}


# Why a list is shorter than its request's size: a word for programs, and a sentence.
NO_MORE: Final = ("no_more_items", "There are no more items that may be shown to this user.")


class Degradation(BaseModel):
    """One thing that an answer lacks."""

    model_config = ConfigDict(frozen=True)

    service: str = Field(description="whose part is missing")
    reason: str = Field(description="what is wrong with it")  # the rest of a sentence that begins with its name
    instead: str = Field(description="what the answer has in its place: a word for programs")
    _outcome: Outcome = PrivateAttr(default=Outcome.PERSONAL)

    @property
    def outcome(self) -> Outcome:
        return self._outcome

    @property
    def sentence(self) -> str:
        return f"{self.service} {self.reason}: {_INSTEAD[self.outcome][1]}."

    @classmethod
    def of(cls, outcome: Outcome, service: str, reason: str) -> Degradation:
        """Make one from its outcome, which says what the answer has instead."""
        found = cls(service=service, reason=reason, instead=_INSTEAD[outcome][0])
        found._outcome = outcome
        return found


class Item(BaseModel, extra="allow", title="Item"):
    """One recommended item, with what the data set says of it."""

    itemid: OwnId
    score: float = Field(description="by the ranking model, or by recall where that did not rank; higher is better")
    title: str


_ITEMS: Final = TypeAdapter(list[Item])


def items_of(
    catalogue: Mapping[int, CatalogueItem], itemids: NDArray[np.integer], scores: NDArray[np.floating]
) -> list[Item]:
    """Build the items of an answer, validated in one batch: a third of the time of one after the other."""
    shown = ((catalogue[itemid], score) for itemid, score in zip(itemids.tolist(), scores.tolist(), strict=True))
    return _ITEMS.validate_python(
        [{**item.attributes, "itemid": item.own_id, "score": float(f"{score:.6g}"), "title": item.title}
         for item, score in shown]
    )  # fmt: skip


def absent_by_default(default: Any, description: str) -> Any:
    """A field that is left out of the JSON where it has its default."""
    return Field(default=default, description=description, exclude_if=lambda found: found == default)


class Answer(BaseModel):
    """The best unseen items, best first, or in the order that diversity wants."""

    userid: OwnId
    release: str = Field(description="which one has answered")
    recommendation: str = Field(description="the answer's name, for events that come of it")
    cold_start: bool = Field(description="unknown user: the popular list")
    degraded: list[Degradation] = absent_by_default([], "what the answer lacks; absent when it lacks nothing")
    reason: str = absent_by_default("", "the same in sentences, and why an answer is not personal")
    item_list: list[Item]
    filled_up: int = absent_by_default(
        0, "how many items of the list are popular ones that complete it, as recall found too few"
    )
    short: str = absent_by_default("", "why the list has fewer items than the request's size: a word for programs")
    recall: dict[str, list[OwnId]] = absent_by_default(
        {}, 'with explain: "recall": what each channel found, best first'
    )
    took_ms: dict[str, float] = Field(description="milliseconds with each service, on diversity, and in total")

    @property
    def outcomes(self) -> tuple[Outcome, ...]:
        """Outcomes other than `PERSONAL`; empty for a personal answer of full quality."""
        return (*((Outcome.COLD_START,) if self.cold_start else ()), *(each.outcome for each in self.degraded))

    @property
    def itemids(self) -> list[OwnId]:
        """The items' own ids, in the answer's order."""
        return [item.itemid for item in self.item_list]


def sentences(degraded: Sequence[Degradation], *, cold_start: bool) -> str:
    """Explain in sentences what an answer lacks, and why it is not personal."""
    return " ".join([*([_UNKNOWN_USER] if cold_start else []), *(each.sentence for each in degraded)])


@dataclass(frozen=True, slots=True, eq=False)
class Ranked:
    """Items, best first; ties by itemid."""

    itemids: NDArray[np.integer]  # (n,)
    scores: NDArray[np.float32]  # (n,)
    query: ScoreQuery | None = None  # to the ranking model; None where it did not rank
    rows: NDArray[np.intp] | None = None  # (n,) row of each item in ``query``
    order: NDArray[np.intp] | None = None  # (n,) indices into itemids in display order; None: as ranked

    def shown(self, size: int) -> NDArray[np.intp]:
        """(size,) indices into itemids of the first ``size`` items in display order."""
        return np.arange(len(self.itemids))[:size] if self.order is None else self.order[:size]


STAGES: Final = ("redis", "elasticsearch", "feast", "triton")  # that call a service


@dataclass(frozen=True, slots=True)
class Stage:
    """Timing of one stage: the calls of a service, or work of the server itself."""

    began: float  # seconds of `time.perf_counter`
    seconds: float
    failed: bool = False


class Stopwatch:
    """Timings of one request's stages; they may overlap. A stage that is repeated replaces its first run.

    The caller that makes it can read the stages of a request that failed, too.

    Attributes:
        stages: those that have ended, in the order of a request; those of extras come last.
    """

    def __init__(self, began: float | None = None) -> None:
        """``began``: when, in seconds of `time.perf_counter`, if not now."""
        self.began = time.perf_counter() if began is None else began
        self.stages: dict[str, Stage] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        failed = True
        try:
            yield
            failed = False
        except (BadRequestError, UnknownReleaseError):  # the client's, and no failure of the service
            failed = False
            raise
        finally:
            self.stages[name] = Stage(began, time.perf_counter() - began, failed)

    def seconds(self) -> float:
        """Seconds in total so far."""
        return time.perf_counter() - self.began

    def took_ms(self) -> dict[str, float]:
        """Milliseconds of each stage, and in total so far, to two places."""
        took = {name: round(stage.seconds * 1e3, 2) for name, stage in self.stages.items()}
        return {**took, "total": round((time.perf_counter() - self.began) * 1e3, 2)}


@dataclass(frozen=True, slots=True)
class TimedRequest:
    """A request with its deadline."""

    request: Request
    deadline: Deadline
    watch: Stopwatch
    short_budget: bool = False  # the caller has given it less time than the server's own budget
    patient: bool = False  # it is strict, or there is nothing to fall back on
    late: bool = False  # it has waited so long for a thread that little of its time is left
    preferred: str | None = None  # the release that is to answer instead of the live one, where it can
    last_try: bool = False  # the second attempt: a release that is gone from a store (`GoneError`) has a fallback, too

    @property
    def strict(self) -> bool:
        return self.request.strict

    def may_fall_back(self, error: ServiceError) -> bool:
        """Whether a fallback answers in the place of a stage that has failed; else its error ends this try."""
        return not self.strict and (self.last_try or not isinstance(error, GoneError))
