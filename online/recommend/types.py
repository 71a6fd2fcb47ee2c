"""What a request becomes on its way: Request -> StoredUser -> Candidates -> Ranked -> Recommendation."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from data_exchange_center.dataset import IdKind
from data_exchange_center.errors import RecsysError
from data_exchange_center.own_ids import MAX_BYTES, MAX_INTEGER, OwnId, kind_of
from online.clients.elastic import CatalogueItem

MAX_SIZE = 200
MAX_TIMESTAMP = 2**32 - 1  # seconds, in the year 2106: one beyond it is not in seconds
FUSED = "fused"  # how `explain` calls the list that the channels' lists were fused to


def _now() -> int:
    return int(time.time())


def _storable(text: str) -> str:
    if not 1 <= len(text.encode()) <= MAX_BYTES:
        raise ValueError(f"its length is not 1 to {MAX_BYTES} bytes")
    return text


UserId = (
    Annotated[int, Field(ge=1, le=MAX_INTEGER)]
    | Annotated[str, Field(min_length=1, max_length=MAX_BYTES), AfterValidator(_storable)]
)


class Request(BaseModel):
    """For whom, when, and how many items. Strict: no number in quotes, and no unknown field.

    ``userid`` is an own id of the data set: `check_userid` knows of which kind those are.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    userid: UserId
    size: Annotated[int, Field(ge=1, le=MAX_SIZE)] = 50
    timestamp: Annotated[int, Field(ge=0, le=MAX_TIMESTAMP, default_factory=_now)]  # seconds since 1970-01-01 UTC
    explain: bool = False  # also return what recall found


class WrongUserIdError(RecsysError):
    """The userid is not of the kind that the release's users have."""


def check_userid(userid: OwnId, kind: IdKind) -> None:
    """Raises WrongUserIdError. Without it, 7 and "7" would be the same user."""
    if kind_of(userid) == kind:
        return
    if kind == "string":
        raise WrongUserIdError(f'userid must be a string in this release, for example {{"userid": "{userid}"}}.')
    raise WrongUserIdError('userid must be a whole number in this release, for example {"userid": 1}.')


class Outcome(StrEnum):
    """What can happen to a request that is answered. Everything but `PERSONAL` is logged and told in the answer."""

    PERSONAL = "personal"
    COLD_START = "cold_start"
    NO_RECALL = "no_recall"
    NO_USER_FEATURES = "no_user_features"
    NO_ITEM_FEATURES = "no_item_features"

    @property
    def reason(self) -> str:
        """What is not personal about the answer, and why: a sentence."""
        return _REASONS[self]


_REASONS = {
    Outcome.PERSONAL: "",
    Outcome.COLD_START: "This release knows nothing of this user: these are the most popular items.",
    Outcome.NO_RECALL: (
        "No recall channel found an unseen item for this user: these are popular unseen items, ranked for the user."
    ),
    Outcome.NO_USER_FEATURES: "The feature store does not know this user: the items are in recall's order, not ranked.",
    Outcome.NO_ITEM_FEATURES: "The feature store lacks some candidates: those are left out.",
}


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """Unseen items, best first by recall, and what recall says of each."""

    itemids: NDArray[np.int64]  # (n,)
    scores: NDArray[np.float32]  # (n,)
    columns: Sequence[str]
    features: NDArray[np.float32]  # (n, columns)
    by_channel: Mapping[str, NDArray[np.integer]]  # what each channel found, best first
    outcome: Outcome = Outcome.PERSONAL

    def only(self, kept: NDArray[np.bool_]) -> Candidates:
        """Some of them, in the same order, with the features they had among all."""
        return replace(self, itemids=self.itemids[kept], scores=self.scores[kept], features=self.features[kept])

    def lists(self) -> dict[str, list[int]]:
        """Items' numbers in recall's order: of the candidates, and of each channel alone."""
        return {FUSED: self.itemids.tolist(), **{name: ids.tolist() for name, ids in self.by_channel.items()}}


@dataclass(frozen=True, slots=True, eq=False)
class Ranked:
    """Items, best first; ties by itemid."""

    itemids: NDArray[np.integer]  # (n,)
    scores: NDArray[np.float32]  # (n,)
    outcomes: tuple[Outcome, ...] = ()


@dataclass(frozen=True, slots=True)
class Recommendation:
    """The answer."""

    userid: OwnId
    release: str
    items: tuple[tuple[int, float, CatalogueItem], ...]  # number, score, best first
    outcomes: tuple[Outcome, ...]  # empty: personal
    took_ms: Mapping[str, float] = field(default_factory=dict)  # stage -> milliseconds
    recall: Mapping[str, Sequence[OwnId]] | None = None  # own ids in the order of recall, where that was asked for

    def as_json(self) -> dict[str, Any]:
        """The body of the response. ``degraded`` and ``reason`` are there only when there is something to tell."""
        degraded = [outcome.value for outcome in self.outcomes if outcome is not Outcome.COLD_START]
        return {
            "userid": self.userid,
            "release": self.release,
            "cold_start": Outcome.COLD_START in self.outcomes,
            **({"degraded": degraded} if degraded else {}),
            **({"reason": " ".join(outcome.reason for outcome in self.outcomes)} if self.outcomes else {}),
            "item_list": [
                {"itemid": item.own_id, "score": float(f"{score:.6g}"), "title": item.title, **item.attributes}
                for _, score, item in self.items
            ],
            **({"recall": self.recall} if self.recall is not None else {}),
            "took_ms": {stage: round(ms, 2) for stage, ms in self.took_ms.items()},
        }
