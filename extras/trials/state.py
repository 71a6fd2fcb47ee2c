"""What all servers know of trials, as one value in Redis: the experiments, and the canaries.

A trial answers some users from the releases of its arms. An experiment compares its arms for as long as somebody
wants. A canary compares a release with the active one in steps, each with a share of the users, and ends by itself.

A hash of the id alone assigns users, so that every worker assigns a user alike. Each running experiment holds some of
the buckets, and no two share a user (one layer of Tang et al. 2010, Overlapping Experiment Infrastructure). Within an
experiment its own hash decides on the arm: a user with the treatment of one experiment is no likelier to get that of
the next in the same buckets.
"""

from __future__ import annotations

from hashlib import blake2b
from itertools import accumulate
from typing import Annotated, Final, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from data_exchange_center.dataset import OwnId
from online.recommend.outcomes import BadRequestError
from online.recommend.types import RELEASE

BUCKETS: Final = 10_000  # of all users; and of an experiment's, for its arms
MAX_ARMS: Final = 8
DAY_S: Final = 86_400
GROUPS: Final = ("canary", "active")  # arms of a canary

Ranges = tuple[tuple[int, int], ...]  # [first, after the last) of buckets
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$")]
ReleaseId = Annotated[str, Field(pattern=RELEASE)]
Verdict = Literal["activated", "rolled back", "stopped"]


class TrialError(BadRequestError):
    """A trial cannot be started or changed as requested; ``field``: the part of the request."""


class Model(BaseModel):
    """A value that is stored or answered. The text below a field describes it, in the API's document too."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True
    )


def bucket(salt: str, userid: OwnId, purpose: bytes) -> int:
    """Hash a user to 0 to `BUCKETS` - 1, uniformly; independent for another salt or purpose."""
    digest = blake2b(
        str(userid).encode(), digest_size=8, key=salt.encode(), person=purpose
    ).digest()
    return int.from_bytes(digest) % BUCKETS


# --- experiments


class Arm(Model):
    """A release that some of an experiment's users are answered from."""

    release: ReleaseId
    weight: Annotated[int, Field(ge=1, le=1_000)] = 1  # relative to the other arms'


class Declaration(Model):
    """A declared experiment. Its first arm is the control, against which the others are measured.

    Attributes:
        share: of all users.
        horizon_s: how long a user is watched, since the first answer.
        planned_users: at how many the interval is narrowest.
    """

    name: Name
    share: Annotated[float, Field(gt=0, le=1)] = 1.0
    arms: Annotated[dict[Name, Arm], Field(min_length=2, max_length=MAX_ARMS)]
    horizon_s: Annotated[int, Field(ge=60, le=90 * DAY_S)] = DAY_S
    planned_users: Annotated[int, Field(ge=100, le=100_000_000)] = 1_000


class Experiment(Declaration):
    """A running or stopped experiment.

    Attributes:
        dataset: `Dataset.base_name` of its arms' releases.
        started: in seconds since 1970-01-01 UTC.
    """

    dataset: str
    buckets: Ranges
    started: int
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


# --- canaries


class Canary(Model):
    """A release on trial."""

    id: str
    release: ReleaseId
    active: ReleaseId
    """the release that it is compared with"""
    dataset: str
    shares: tuple[float, ...]
    """of the users, step by step"""
    step: int = 0
    users: int
    """that it has to answer in each step"""
    began: float
    """seconds since 1970-01-01 UTC"""
    joined: float
    """when the step's users joined: seconds since 1970-01-01 UTC"""
    activating: bool = False
    """it has held, and the pointer is being moved"""
    waiting: bool = False
    """its last step is over without enough feedback: a person, or more of it, activates it"""

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


class Ended(Model):
    """A canary that has ended."""

    id: str
    release: ReleaseId
    active: ReleaseId
    share: float
    """of the users, at its end"""
    began: float
    ended: float
    """seconds since 1970-01-01 UTC"""
    verdict: Verdict
    """rolled back: by a guardrail, which the same release would violate again"""
    reason: str = ""
    """the violated guardrail, or what else ended it"""
    detail: str = ""
    """in figures"""

    def __str__(self) -> str:
        why = ": ".join(filter(None, (self.reason, self.detail)))
        end = f"{self.verdict} at {self.share:.0%}{f', {why}' if why else ''}"
        return f"canary of release {self.release} {end}"


# --- all of them


class Assignment(NamedTuple):
    """A user's arm."""

    trial: Experiment | Canary
    arm: str

    @property
    def release(self) -> str:
        return self.trial.release_of(self.arm)


class Trials(Model):
    """Experiments, the oldest first; the canary that runs; canaries that have ended, the newest first."""

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
