"""What an experiment is: which users, which releases, what is measured, and since when it runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from data_exchange_center.errors import RecsysError
from online.recommend.types import RELEASE

NAME: Final = r"^[a-z0-9][a-z0-9_-]{0,39}$"
MAX_ARMS: Final = 8
DAY_S: Final = 86_400

Name = Annotated[str, Field(pattern=NAME)]
Kind = Literal["split", "interleaved"]
Metric = Literal["hit", "hits", "gain"]
Ranges = tuple[tuple[int, int], ...]  # [first, after the last) of buckets


class ExperimentError(RecsysError):
    """An experiment cannot be started or changed as asked.

    Attributes:
        field: which part of the declaration.
    """

    def __init__(self, field: str, problem: str, remedy: str = "") -> None:
        self.field = field
        super().__init__(problem, remedy)


class Arm(BaseModel):
    """A release that some of an experiment's users are answered from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    release: Annotated[str, Field(pattern=RELEASE)]
    weight: Annotated[int, Field(ge=1, le=1_000)] = 1  # of a split: its part of the users, beside the other arms'


class Declaration(BaseModel):
    """An experiment as somebody asks for it. Its first arm is the control, against which the others are measured.

    A split gives each user one arm, for as long as it runs. An interleaved one gives everybody a list that both arms
    have drafted from theirs in turns.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name
    layer: Name = "main"
    kind: Kind = "split"
    share: Annotated[float, Field(gt=0, le=1)] = 1.0  # of the layer's users
    arms: Annotated[dict[Name, Arm], Field(min_length=2, max_length=MAX_ARMS)]
    metric: Metric = "gain"  # by which it is decided; the others are told beside it
    horizon_s: Annotated[int, Field(ge=60, le=90 * DAY_S)] = DAY_S  # of a user, since the first answer
    planned_users: Annotated[int, Field(ge=100, le=100_000_000)] = 1_000  # the interval is narrowest at so many

    @model_validator(mode="after")
    def _two_teams(self) -> Self:
        if self.kind == "interleaved" and len(self.arms) != 2:
            raise ValueError("two arms are interleaved, no more")
        if self.kind == "interleaved" and any(arm.weight != 1 for arm in self.arms.values()):
            raise ValueError("interleaved arms have no weights: each drafts every other item")
        return self

    @property
    def control(self) -> str:
        return next(iter(self.arms))


class Experiment(Declaration):
    """One that runs, or that did."""

    dataset: str  # `Dataset.base_name` of its arms' releases
    buckets: Ranges  # of its layer
    started: int  # seconds since 1970-01-01 UTC
    stopped: int | None = None

    @property
    def runs(self) -> bool:
        return self.stopped is None


Experiments = tuple[Experiment, ...]
_experiments: Final[TypeAdapter[Experiments]] = TypeAdapter(Experiments)


def pack(experiments: Iterable[Experiment]) -> bytes:
    """JSON."""
    return _experiments.dump_json(tuple(experiments))


def unpack(raw: bytes) -> Experiments:
    """Inverse of `pack`. Raises ValueError."""
    return _experiments.validate_json(raw)


def named(experiments: Sequence[Experiment], name: str) -> Experiment:
    """Raises ExperimentError."""
    for each in experiments:
        if each.name == name:
            return each
    there = ", ".join(each.name for each in experiments) or "none"
    raise ExperimentError("name", f"No experiment is called {name!r}; there are: {there}")


def told(experiment: Experiment) -> dict[str, Any]:
    """As the API tells it: without buckets, with each arm's share of the layer's users."""
    total = sum(arm.weight for arm in experiment.arms.values())
    arms = [
        {
            "name": name,
            "release": arm.release,
            "share": round(experiment.share * (1.0 if experiment.kind == "interleaved" else arm.weight / total), 4),
        }
        for name, arm in experiment.arms.items()
    ]
    return {**experiment.model_dump(exclude={"buckets", "arms"}), "arms": arms}
