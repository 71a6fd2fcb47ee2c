"""What a request becomes on its way: Request -> StoredUser -> Candidates -> Ranked -> Recommendation."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Annotated, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from data_exchange_center.dataset import IdKind
from data_exchange_center.errors import RecsysError
from data_exchange_center.fusion import Hits
from data_exchange_center.own_ids import MAX_BYTES, MAX_INTEGER, OwnId, kind_of, own_id
from online.clients.elastic import CatalogueItem
from online.clients.triton import ScoreQuery
from online.explain.shapes import Explanation

MAX_SIZE = 200
MAX_TIMESTAMP = 2**32 - 1  # seconds, in the year 2106: one beyond it is not in seconds
MIN_BUDGET_MS, MAX_BUDGET_MS = 20, 10_000
RELEASE = r"^[0-9a-f]{12}$"  # a release's id
FUSED = "fused"  # how `explain` calls the list that the channels' lists were fused to


def _now() -> int:
    return int(time.time())


def _storable(text: str) -> str:
    if not 1 <= len(text.encode()) <= MAX_BYTES:
        raise ValueError(f"its length is not 1 to {MAX_BYTES} bytes")
    return text


OwnText = Annotated[str, Field(min_length=1, max_length=MAX_BYTES), AfterValidator(_storable)]
UserId = Annotated[int, Field(ge=1, le=MAX_INTEGER)] | OwnText
Size = Annotated[int, Field(ge=1, le=MAX_SIZE)]
Timestamp = Annotated[int, Field(ge=0, le=MAX_TIMESTAMP, default_factory=_now)]  # seconds since 1970-01-01 UTC
Diversity = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class Request(BaseModel):
    """For whom, when, and how many items. Strict: no number in quotes, and no unknown field.

    ``userid`` is an own id of the data set: `check_userid` knows of which kind those are.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    userid: UserId
    size: Size = 50
    timestamp: Timestamp
    explain: bool | Literal["recall"] = False  # why each item is there, and what recall found; or that alone
    diversity: Diversity | None = None  # 0: the ranker's order; 1: as unlike each other as can be; None: the server's
    budget_ms: Annotated[int, Field(ge=MIN_BUDGET_MS, le=MAX_BUDGET_MS, default_factory=int)]  # 0: not given
    strict: bool = False  # rather no answer than one without a service: for checks and measurements
    stages: bool = False  # also return what each stage was given and what it gave
    release: Annotated[str, Field(pattern=RELEASE)] | None = None  # instead of the live one
    experiments: bool = True  # take part in those that run; said together with a timestamp, it counts as an exposure

    @property
    def takes_part(self) -> bool:
        """Whether an experiment may decide on the release: not where one is named, nor for checks and measurements."""
        return self.experiments and self.release is None and not self.strict

    @property
    def is_exposure(self) -> bool:
        """Whether the answer counts in an experiment. One as of another time does where the request says so."""
        given = self.model_fields_set
        return self.takes_part and ("timestamp" not in given or "experiments" in given)

    @property
    def before(self) -> int | None:
        """What happened before this second is known. None: all that was acknowledged, be it of this very second.

        So whoever has just rated something and asks, naming no time, sees it count.
        """
        return self.timestamp if "timestamp" in self.model_fields_set else None


class WhyNotRequest(BaseModel):
    """About whom and what. Ids are text, as in an address, and are read as the release's are."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    userid: OwnText = Field(description=f"an id of 1 to {MAX_BYTES} bytes, the data set's own")
    itemid: OwnText = Field(description=f"an id of 1 to {MAX_BYTES} bytes, the data set's own")
    size: Size = Field(default=50, description=f"a whole number from 1 to {MAX_SIZE}, of the list that is asked about")
    timestamp: Timestamp = Field(
        description=f"a whole number of seconds since 1970-01-01 UTC, 0 to {MAX_TIMESTAMP}: as if asked then, not now"
    )
    diversity: Diversity | None = Field(
        default=None, description="a number from 0 to 1, of the list that is asked about"
    )


class WrongIdError(RecsysError):
    """An id is not of the kind that the release's users, or items, have.

    Attributes:
        field: which one.
    """

    def __init__(self, field: str, message: str) -> None:
        self.field = field
        super().__init__(message)


def read_id(field: str, text: str, kind: IdKind) -> OwnId:
    """An id of an address, as the release has them. Raises WrongIdError."""
    if kind == "integer" and not (text.isascii() and text.isdigit() and 1 <= int(text) <= MAX_INTEGER):
        raise WrongIdError(field, f"{field} must be a whole number from 1 to {MAX_INTEGER} in this release.")
    return own_id(text, kind)


def check_userid(userid: OwnId, kind: IdKind) -> None:
    """Raises WrongIdError. Without it, 7 and "7" would be the same user."""
    if kind_of(userid) == kind:
        return
    if kind == "string":
        raise WrongIdError("userid", f'userid must be a string in this release, for example {{"userid": "{userid}"}}.')
    raise WrongIdError("userid", 'userid must be a whole number in this release, for example {"userid": 1}.')


class UnknownReleaseError(RecsysError):
    """No release of that name can be answered from."""

    def __init__(self, release: str) -> None:
        super().__init__(
            f"No release {release} was ever live here, or it is kept no longer: GET /ml/releases lists them."
        )


class Outcome(StrEnum):
    """What can happen to a request that is answered. Everything but `PERSONAL` is logged and told in the answer."""

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


# Those of an answer that lacks a service. The others are of full quality: there is nothing on a user or an item.
WITHOUT_A_SERVICE: Final = frozenset(
    {Outcome.LAST_STATE, Outcome.EXACT_SEARCH, Outcome.LAST_FEATURES, Outcome.NOT_RANKED, Outcome.POPULAR}
)
_UNKNOWN_USER = "This release knows nothing of this user: these are the most popular items."
# Outcome -> what the answer has instead: a word for programs, and the rest of a sentence that begins with the reason
_INSTEAD: Mapping[Outcome, tuple[str, str]] = {
    Outcome.NO_RECALL: ("popular_unseen", "these are popular unseen items, ranked for the user"),
    Outcome.NO_USER_FEATURES: ("recall_order", "the items are in recall's order, not ranked"),
    Outcome.NO_ITEM_FEATURES: ("left_out", "those are left out"),
    Outcome.LAST_STATE: ("last_state", "the user's history is the one last known"),
    Outcome.EXACT_SEARCH: ("exact_search", "the server has searched its own copy of the vectors"),
    Outcome.LAST_FEATURES: ("last_features", "the user's features are the ones last known"),
    Outcome.NOT_RANKED: ("recall_order", "the items are in recall's order, not ranked"),
    Outcome.POPULAR: ("popular", "these are the most popular items"),
}


@dataclass(frozen=True, slots=True)
class Degraded:
    """One thing that an answer lacks."""

    outcome: Outcome
    service: str  # whose part is missing
    reason: str  # what is wrong with it: the rest of a sentence that begins with its name

    @property
    def instead(self) -> str:
        """What the answer has in its place."""
        return _INSTEAD[self.outcome][0]

    @property
    def sentence(self) -> str:
        return f"{self.service} {self.reason}: {_INSTEAD[self.outcome][1]}."


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """Unseen items, best first by recall, and what recall says of each."""

    itemids: NDArray[np.int64]  # (n,)
    scores: NDArray[np.float32]  # (n,)
    columns: Sequence[str]
    features: NDArray[np.float32]  # (n, columns)
    by_channel: Mapping[str, Hits]  # what each channel found
    lacking: tuple[Degraded, ...] = ()

    def only(self, kept: NDArray[np.bool_]) -> Candidates:
        """Some of them, in the same order, with the features they had among all."""
        return replace(self, itemids=self.itemids[kept], scores=self.scores[kept], features=self.features[kept])

    def lists(self) -> dict[str, list[int]]:
        """Items' numbers in recall's order: of the candidates, and of each channel alone."""
        return {FUSED: self.itemids.tolist(), **{name: hits.ids.tolist() for name, hits in self.by_channel.items()}}


@dataclass(frozen=True, slots=True, eq=False)
class Ranked:
    """Items, best first; ties by itemid."""

    itemids: NDArray[np.integer]  # (n,)
    scores: NDArray[np.float32]  # (n,)
    lacking: tuple[Degraded, ...] = ()
    asked: ScoreQuery | None = None  # what the ranking model was asked; None where it did not rank
    rows: NDArray[np.intp] | None = None  # (n,) the items' rows of it
    diversity: float | None = None  # that the order was made with; None: they are shown as they are here
    order: NDArray[np.intp] | None = None  # (n,) places of the above as they are shown, where there is a diversity

    def shown(self, size: int) -> NDArray[np.intp]:
        """Places of the first ``size``."""
        return np.arange(len(self.itemids))[:size] if self.order is None else self.order[:size]


@dataclass(frozen=True, slots=True)
class InExperiment:
    """An experiment that had a part in an answer."""

    experiment: str
    layer: str
    arms: tuple[str, ...]  # the user's one; both, of an interleaved list


@dataclass(frozen=True, slots=True)
class Recommendation:
    """The answer."""

    userid: OwnId
    release: str
    items: tuple[tuple[int, float, CatalogueItem], ...]  # number, score; best first, or as diversity has it
    lacking: tuple[Degraded, ...] = ()
    cold_start: bool = False
    diversity: float | None = None  # that the items' order was made with; None: it is that of their scores
    took_ms: Mapping[str, float] = field(default_factory=dict)  # stage -> milliseconds
    recall: Mapping[str, Sequence[OwnId]] | None = None  # own ids in the order of recall, where that was asked for
    explained: Sequence[Explanation] | None = None  # one an item, where that was asked for
    stages: Sequence[Mapping[str, Any]] | None = None  # as `stage_report` tells them, where that was asked for
    experiments: tuple[InExperiment, ...] = ()
    id: str = field(default_factory=lambda: uuid.uuid4().hex)  # what events name that came of it

    @property
    def outcomes(self) -> tuple[Outcome, ...]:
        """Empty: personal, of full quality."""
        return (*((Outcome.COLD_START,) if self.cold_start else ()), *(each.outcome for each in self.lacking))

    def as_json(self) -> dict[str, Any]:
        """The body of the response. ``degraded`` and ``reason`` are there only when there is something to tell."""
        degraded = [{"service": e.service, "reason": e.reason, "instead": e.instead} for e in self.lacking]
        reasons = [*([_UNKNOWN_USER] if self.cold_start else []), *(each.sentence for each in self.lacking)]
        return {
            "userid": self.userid,
            "release": self.release,
            "recommendation": self.id,
            **({"experiments": [asdict(each) for each in self.experiments]} if self.experiments else {}),
            "cold_start": self.cold_start,
            **({"diversity": self.diversity} if self.diversity is not None else {}),
            **({"degraded": degraded} if degraded else {}),
            **({"reason": " ".join(reasons)} if reasons else {}),
            "item_list": [
                {"itemid": item.own_id, "score": float(f"{score:.6g}"), "title": item.title, **item.attributes}
                for _, score, item in self.items
            ],
            **({"recall": self.recall} if self.recall is not None else {}),
            **({"explained": [each.model_dump() for each in self.explained]} if self.explained is not None else {}),
            **({"stages": self.stages} if self.stages is not None else {}),
            "took_ms": {stage: round(ms, 2) for stage, ms in self.took_ms.items()},
        }
