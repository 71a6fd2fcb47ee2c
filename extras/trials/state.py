"""What all servers know of trials, as one value in Redis: the experiments, and the canaries.

A trial answers some users from the releases of its arms. An experiment compares its arms for as long as somebody
wants. A canary compares a release with the active one in steps, each with a share of the users, and ends by itself.
"""

from __future__ import annotations

from itertools import accumulate
from typing import Annotated, Final, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from data_exchange_center.dataset import OwnId
from extras.trials.assignment import BUCKETS, Ranges, bucket
from online.recommend.outcomes import BadRequestError
from online.recommend.types import RELEASE

MAX_ARMS: Final = 8
DAY_S: Final = 86_400
GROUPS: Final = ("canary", "active")  # arms of a canary
SUPERSEDED, DELETED = "superseded", "deleted"  # ends of a canary that are no guardrail

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$")]
Metric = Literal["hit", "hits", "gain"]
ReleaseId = Annotated[str, Field(pattern=RELEASE)]
Verdict = Literal["activated", "rolled back", "stopped"]


class TrialError(BadRequestError):
    """A trial cannot be started or changed as requested; ``field``: the part of the request."""


class Arm(BaseModel):
    """A release that some of an experiment's users are answered from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    release: ReleaseId
    weight: Annotated[int, Field(ge=1, le=1_000)] = 1  # relative to the other arms'


class Declaration(BaseModel):
    """A declared experiment. Its first arm is the control, against which the others are measured."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name = Field(description="of letters, digits, - and _")
    share: float = Field(default=1.0, gt=0, le=1, description="of all users")
    arms: Annotated[dict[Name, Arm], Field(min_length=2, max_length=MAX_ARMS)] = Field(
        description="the control first"
    )
    metric: Metric = Field(
        default="gain",
        description="by which it is decided; the others are reported, too",
    )
    horizon_s: int = Field(
        default=DAY_S,
        ge=60,
        le=90 * DAY_S,
        description="how many seconds a user is watched, since the first answer",
    )
    planned_users: int = Field(
        default=1_000,
        ge=100,
        le=100_000_000,
        description="the interval is narrowest at so many",
    )

    @property
    def control(self) -> str:
        return next(iter(self.arms))


class Experiment(Declaration):
    """A running or stopped experiment."""

    dataset: str  # `Dataset.base_name` of its arms' releases
    buckets: Ranges
    started: int  # seconds since 1970-01-01 UTC
    stopped: int | None = None

    @property
    def runs(self) -> bool:
        return self.stopped is None

    def arm_of(self, userid: OwnId) -> str | None:
        """The arm of a user; None: the user is not in the experiment. Arms' weights never change."""
        place = bucket("main", userid, b"layer")
        if not any(first <= place < after for first, after in self.buckets):
            return None
        place = bucket(self.name, userid, b"arm")
        limits = list(accumulate(arm.weight for arm in self.arms.values()))
        return next(
            name
            for name, limit in zip(self.arms, limits, strict=True)
            if place * limits[-1] < limit * BUCKETS
        )

    def release_of(self, arm: str) -> str:
        return self.arms[arm].release


class Canary(BaseModel):
    """A release on trial."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    release: ReleaseId
    active: ReleaseId = Field(description="the release that it is compared with")
    dataset: str
    shares: tuple[float, ...] = Field(description="of the users, step by step")
    step: int = 0
    users: int = Field(description="that it has to answer in each step")
    began: float = Field(description="seconds since 1970-01-01 UTC")
    joined: float = Field(
        description="when the step's users joined: seconds since 1970-01-01 UTC"
    )
    activating: bool = Field(
        default=False, description="it has held, and the pointer is being moved"
    )
    waiting: bool = Field(
        default=False,
        description="its last step is over without enough feedback: a person, or more of it, activates it",
    )

    @property
    def name(self) -> str:
        """Name of its exposures in the log."""
        return f"canary-{self.id}"

    @property
    def share(self) -> float:
        return self.shares[self.step]

    @property
    def is_last(self) -> bool:
        """Whether the release is activated after this step."""
        return self.step + 1 == len(self.shares)

    def arm_of(self, userid: OwnId) -> str | None:
        """The group of a user, who stays in it in later steps; None: in neither group."""
        place = bucket(self.id, userid, b"canary") / BUCKETS
        if place < self.share:
            return "canary"
        return "active" if place >= 1 - self.share else None

    def release_of(self, arm: str) -> str:
        return self.release if arm == "canary" else self.active

    def __str__(self) -> str:
        step = f"step {self.step + 1} of {len(self.shares)}"
        text = (
            f"canary of release {self.release}: {self.share:.0%} of the users, {step}"
        )
        if self.waiting:
            text += (
                f"; waits for more feedback or `make activate release={self.release}`"
            )
        return text


class Ended(BaseModel):
    """A canary that has ended."""

    model_config = ConfigDict(extra="forbid")

    id: str
    release: ReleaseId
    active: ReleaseId
    share: float = Field(description="of the users, at its end")
    began: float
    ended: float = Field(description="seconds since 1970-01-01 UTC")
    verdict: Verdict
    reason: str = Field(
        default="", description="the violated guardrail, or what else ended it"
    )
    detail: str = Field(default="", description="in figures")

    @property
    def rejected(self) -> bool:
        """Whether a guardrail was violated: the same release again would violate it again."""
        by_a_guardrail = self.reason not in (SUPERSEDED, DELETED)
        return self.verdict == "rolled back" and by_a_guardrail

    @property
    def result(self) -> str:
        """Verdict and reason, in words."""
        why = ": ".join(filter(None, (self.reason, self.detail)))
        return f"{self.verdict} at {self.share:.0%}{f', {why}' if why else ''}"

    def __str__(self) -> str:
        return f"canary of release {self.release} {self.result}"


class Assignment(NamedTuple):
    """A user's arm."""

    trial: Experiment | Canary
    arm: str

    @property
    def release(self) -> str:
        return self.trial.release_of(self.arm)


class Trials(BaseModel):
    """Experiments, the oldest first; the canary that runs; canaries that have ended, the newest first."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    experiments: tuple[Experiment, ...] = ()
    canary: Canary | None = None
    ended: tuple[Ended, ...] = ()

    @property
    def running(self) -> tuple[Experiment | Canary, ...]:
        experiments = tuple(each for each in self.experiments if each.runs)
        return experiments if self.canary is None else (*experiments, self.canary)

    def assigned(self, userid: OwnId, dataset: str) -> Assignment | None:
        """The arm of a data set's user (`Dataset.base_name`); None: the active release answers."""
        for trial in self.running:
            if trial.dataset == dataset and (arm := trial.arm_of(userid)) is not None:
                return Assignment(trial, arm)
        return None

    def named(self, name: str) -> Experiment:
        """Find an experiment. Raises TrialError."""
        for each in self.experiments:
            if each.name == name:
                return each
        there = ", ".join(each.name for each in self.experiments) or "none"
        raise TrialError(
            "name", f"No experiment is called {name!r}; there are: {there}"
        )
