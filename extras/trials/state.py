"""What all servers know of trials, as one value in Redis: the experiments, and the canaries.

A trial answers some users from the releases of its arms. An experiment compares its arms for as long as somebody
wants. A canary compares a release with the active one in steps, each with a share of the users, and ends by itself.

A hash of the id and the trial's name alone assigns users, so that every worker assigns a user alike. A second hash
decides on the arm: a user with the treatment of one experiment is no likelier to get that of the next.
"""

from __future__ import annotations

from bisect import bisect
from hashlib import blake2b
from itertools import accumulate
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from data_exchange_center.dataset import OwnId
from online.recommend.outcomes import BadRequestError
from online.recommend.types import RELEASE

BUCKETS: Final = 10_000  # of users
GROUPS: Final = ("canary", "active")  # arms of a canary

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
    """

    name: Name
    share: Annotated[float, Field(gt=0, le=1)] = 1.0
    arms: Annotated[dict[Name, Arm], Field(min_length=2, max_length=8)]
    horizon_s: Annotated[int, Field(ge=60)] = 86_400


class Experiment(Declaration):
    """A running or stopped experiment."""

    dataset: str
    """whose users they are"""
    started: int
    """seconds since 1970-01-01 UTC"""
    stopped: int | None = None
    """null: it runs"""

    def arm_of(self, userid: OwnId) -> str | None:
        """The arm of a user; None: the user is not in the experiment. Arms' weights never change."""
        if bucket(self.name, userid, b"layer") >= self.share * BUCKETS:
            return None
        place = bucket(self.name, userid, b"arm")
        limits = list(accumulate(arm.weight for arm in self.arms.values()))
        return list(self.arms)[bisect(limits, place * limits[-1] // BUCKETS)]

    def release_of(self, arm: str) -> str:
        return self.arms[arm].release


# --- canaries


class Canary(Model):
    """A release on trial, or one that was."""

    name: str
    """of its exposures in the log"""
    release: ReleaseId
    active: ReleaseId
    """the release that it is compared with"""
    dataset: str
    shares: tuple[float, ...]
    """of the users, step by step"""
    step: int = 0
    requests: int
    """that it has to answer in each step"""
    began: float
    """seconds since 1970-01-01 UTC"""
    joined: float
    """when the step's users joined: seconds since 1970-01-01 UTC"""
    activating: bool = False
    """it has held, and the pointer is being moved"""
    verdict: Verdict | None = None
    """null: it runs; rolled back: by a guardrail, which the same release would violate again"""
    ended: float = 0
    """seconds since 1970-01-01 UTC; 0: it runs"""
    reason: str = ""
    """the violated guardrail, or what else ended it"""
    detail: str = ""
    """in figures"""

    @property
    def share(self) -> float:
        return self.shares[self.step]

    @property
    def is_last(self) -> bool:
        """Whether the release is activated after this step."""
        return self.step + 1 == len(self.shares)

    def arm_of(self, userid: OwnId) -> str | None:
        """The group of a user, who stays in it in later steps; None: in neither group."""
        place = bucket(self.name, userid, b"canary") / BUCKETS
        if place < self.share:
            return "canary"
        return "active" if place >= 1 - self.share else None

    def release_of(self, arm: str) -> str:
        return self.release if arm == "canary" else self.active

    def __str__(self) -> str:
        said = [f"canary of release {self.release} {self.verdict or 'runs'}"]
        if self.is_last and not self.verdict:
            by_hand = f"`make activate release={self.release}`"
            said.append(f"until feedback shows no great loss, or {by_hand}")
        said += filter(None, (self.reason, self.detail))
        return f"{', '.join(said)} ({self.share:.0%} of the users)"


# --- all of them


Trial = Experiment | Canary


class Trials(Model):
    """Experiments, the oldest first; the canary that runs; canaries that have ended, the newest first."""

    experiments: tuple[Experiment, ...] = ()
    canary: Canary | None = None
    ended: tuple[Canary, ...] = ()

    @property
    def running(self) -> Trial | None:
        """The trial that runs; only the newest experiment can."""
        for each in self.experiments[-1:]:
            if each.stopped is None:
                return each
        return self.canary

    def assigned(self, userid: OwnId, dataset: str) -> tuple[Trial | None, str]:
        """The trial and arm of a data set's user (`Dataset.base_name`); None: the active release answers."""
        trial = self.running
        arm = trial.arm_of(userid) if trial and trial.dataset == dataset else None
        return (trial, arm) if arm else (None, "")

    def named(self, name: str) -> Experiment:
        """Find an experiment. Raises TrialError."""
        for each in self.experiments:
            if each.name == name:
                return each
        raise TrialError(
            "name", f"No experiment is called {name!r}: make experiments lists them"
        )
