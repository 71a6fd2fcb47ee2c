"""Types of a request's stages: Request -> Slate (user, candidates, ranked) -> Answer.

`StoredUser` and `Candidates` are in `data_exchange_center.candidates`, `Stopwatch` in `online.clients.base`, the errors
and outcomes of a request in `outcomes`. Request and Answer are the models that the API describes; extras add fields to
both (`online.web.parts`).
"""

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from data_exchange_center.candidates import Candidates, StoredUser
from data_exchange_center.dataset import MAX_BYTES, MAX_INTEGER, IdKind, OwnId, own_id
from online.clients import base, triton
from online.clients.base import Stopwatch as Stopwatch
from online.recommend.outcomes import (
    NO_MORE,
    BadRequestError,
    Degradation,
    WrongIdError,
)

if TYPE_CHECKING:
    from online.recommend.loaded_release import Release

MAX_SIZE = 200
MAX_TIMESTAMP = 2**32 - 1  # seconds, in the year 2106: one beyond it is not in seconds
MIN_BUDGET_MS, MAX_BUDGET_MS = 20, 10_000
RELEASE = r"^[0-9a-f]{12}$"  # a release's id
FUSED = "fused"  # how `explain` calls the list that the channels' lists were fused to


def _storable(text: str) -> str:
    if not 1 <= len(text.encode()) <= MAX_BYTES:
        raise ValueError(f"its length is not 1 to {MAX_BYTES} bytes")
    return text


OwnText = Annotated[
    str, Field(min_length=1, max_length=MAX_BYTES), AfterValidator(_storable)
]
UserId = Annotated[int, Field(ge=1, le=MAX_INTEGER)] | OwnText
Size = Annotated[int, Field(ge=1, le=MAX_SIZE)]
Timestamp = Annotated[
    int,
    Field(
        ge=0,
        le=MAX_TIMESTAMP,
        default_factory=lambda: int(time.time()),
        description="seconds since 1970-01-01 UTC; where it is not given, now",
    ),
]


class Request(BaseModel):
    """A request for a list. Strict: no number in quotes, and no unknown field.

    ``userid`` is an own id of the data set, of the kind that the release's users have.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    userid: UserId = Field(description="an own id of the data set, of its kind")
    size: Size = 50
    timestamp: Timestamp
    explain: bool | Literal["recall"] = Field(
        default=False,
        description='"recall": what each channel found; true: why each item is there',
    )
    budget_ms: Annotated[int, Field(ge=MIN_BUDGET_MS, le=MAX_BUDGET_MS)] = Field(
        default_factory=int,  # 0: not given
        description="milliseconds that the answer may take; else the server's own",
    )
    strict: bool = Field(
        default=False,
        description="rather no answer than one without a service: for checks and measurements",
    )
    release: Annotated[str, Field(pattern=RELEASE)] | None = Field(
        default=None, description="which one answers, instead of the live one"
    )
    objectives: dict[
        Annotated[str, Field(max_length=64)],
        Annotated[float, Field(ge=0, allow_inf_nan=False, le=1e6)],
    ] = Field(
        default_factory=dict,
        max_length=10,
        description="how much each target type of the data set counts in the score; else as the release says",
    )


def objective_weights(
    wanted: Mapping[str, float], objectives: Mapping[str, float]
) -> tuple[float, ...]:
    """A request's weights of the ranking model's outputs. Raises BadRequestError.

    Args:
        wanted: by target type, at least one.
        objectives: as `Manifest.objectives`.
    """
    if not objectives:
        raise BadRequestError(
            "objectives",
            "objectives: this release has none: its data set names no types of events ([types] in dataset.toml), or "
            "its ranker is not of kind list.",
        )
    unknown = sorted(wanted.keys() - objectives.keys())
    if unknown:
        raise BadRequestError(
            "objectives",
            f"objectives: {unknown[0]!r} must be one of: {', '.join(objectives)}.",
        )
    weights = tuple(wanted.get(name, 0.0) for name in objectives)
    if not sum(weights):
        raise BadRequestError("objectives", "objectives: one must be above 0.")
    return weights


def read_id(field: str, text: str, kind: IdKind) -> OwnId:
    """Parse an id from a URL, as a number or string like the release's ids. Raises WrongIdError."""
    if kind == "integer" and not (
        re.fullmatch(r"[1-9]\d{0,9}", text, re.ASCII) and int(text) <= MAX_INTEGER
    ):
        raise WrongIdError(
            field,
            f"{field} must be a whole number from 1 to {MAX_INTEGER} in this release.",
        )
    return own_id(text, kind)


def wrong_userid(userid: OwnId) -> WrongIdError:
    """The error of a user's id that is not of the kind that the release's users have."""
    if isinstance(userid, str):
        must = 'a whole number from 1 on in this release, for example {"userid": 1}'
    else:
        must = f'a string in this release, for example {{"userid": "{userid}"}}'
    return WrongIdError("userid", f"userid must be {must}.")


class Item(BaseModel, extra="allow", title="Item"):
    """One recommended item, with what the data set says of it."""

    itemid: OwnId
    score: float = Field(
        description="by the ranking model, or by recall where that did not rank; higher is better. It depends on the "
        "request's other candidates, which `where` changes: compare scores within an answer, put no threshold on them"
    )
    title: str


def absent_by_default(default: Any, description: str) -> Any:
    """A field that is left out of the JSON where it has its default."""
    return Field(
        default=default,
        description=description,
        exclude_if=lambda found: found == default,
    )


class Answer(BaseModel):
    """The best unseen items, best first, or in the order that diversity wants."""

    userid: OwnId
    release: str = Field(description="which one has answered")
    recommendation: str = Field(
        description="the answer's name, for events that come of it"
    )
    cold_start: bool = Field(description="unknown user: the popular list")
    degraded: list[Degradation] = absent_by_default(
        [], "what the answer lacks; absent when it lacks nothing"
    )
    reason: str = absent_by_default(
        "", "the same in sentences, and why an answer is not personal"
    )
    item_list: list[Item]
    filled_up: int = absent_by_default(
        0,
        "how many items of the list are popular ones that complete it, as recall found too few",
    )
    short: str = absent_by_default(
        "", "why the list has fewer items than the request's size: a word for programs"
    )
    recall: dict[str, list[OwnId]] = absent_by_default(
        {}, 'with explain: "recall": what each channel found, best first'
    )
    took_ms: dict[str, float] = Field(
        description="milliseconds with each service, on diversity, and in total"
    )

    @property
    def itemids(self) -> list[OwnId]:
        """The items' own ids, in the answer's order."""
        return [item.itemid for item in self.item_list]


@dataclass(frozen=True, slots=True, eq=False)
class Ranked:
    """Items, best first; ties by number."""

    item_numbers: NDArray[np.integer]  # (n,)
    scores: NDArray[np.float32]  # (n,)
    # to the ranking model; None where it did not rank
    query: triton.ScoreQuery | None = None
    rows: NDArray[np.intp] | None = None  # (n,) row of each item in ``query``
    # (n,) indices into item_numbers in display order; None: as ranked
    order: NDArray[np.intp] | None = None

    def shown(self, size: int) -> NDArray[np.intp]:
        """(size,) indices into item_numbers of the first ``size`` items in display order."""
        return (
            np.arange(len(self.item_numbers))[:size]
            if self.order is None
            else self.order[:size]
        )


@dataclass(slots=True, eq=False)
class Slate:
    """All that an answer is made of. It begins as the release's popular list.

    Attributes:
        release: the one that answers.
        watch: the timings of the stages.
        deadline: when the answer has to be there.
        ranked: the list, best first; an extension that reorders it sets ``order``.
        user: the state as the request sees it; None: nothing is known of the user, and the popular list answers.
        candidates: None where the popular list answers.
        degraded: what the answer lacks, in the order of the stages.
        items: those that the answer shows, once the phase `rerank` is over.
        end: why there are no more items, if the list turns out short: a word for programs, and a sentence.
        more: fields that extensions add to the answer.
    """

    request: Request
    release: "Release"
    watch: base.Stopwatch
    deadline: base.Deadline
    ranked: Ranked
    user: StoredUser | None = None
    candidates: Candidates | None = None
    degraded: list[Degradation] = field(default_factory=list)
    items: list[Item] = field(default_factory=list)
    end: tuple[str, str] = NO_MORE
    more: dict[str, Any] = field(default_factory=dict)


STAGES: Final = ("redis", "elasticsearch", "feast", "triton")  # that call a service


def recalled(slate: Slate) -> dict[str, list[OwnId]]:
    """The items' own ids that each channel found, best first, and under `FUSED` the fused list."""
    candidates, catalogue = slate.candidates, slate.release.catalogue
    if candidates is None:
        return {FUSED: []}
    lists: dict[str, NDArray[np.integer]] = {FUSED: candidates.item_numbers}
    for channel, hits in candidates.by_channel.items():
        lists[channel] = hits.ids
    return {
        name: [catalogue[each].own_id for each in ids.tolist() if each in catalogue]
        for name, ids in lists.items()
    }
