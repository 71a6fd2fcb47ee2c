"""The state of canaries, and its transitions: pure functions of the state that Redis holds as one value.

A canary goes through steps, each with a share of the users. At the beginning of a step its new users are announced:
those who are answered by the active release meanwhile stay with it until they have been away for a while
(`extras.canary.hook`). After the last step the release is activated, in two transitions with the pointer between them;
without enough feedback it waits for a person, who activates it as any other release.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from data_exchange_center.dataset import OwnId
from extras.canary.decision import Decision
from extras.experiments.declaration import BUCKETS, CANARY_KEY, Arm, Experiment, bucket
from online.recommend.outcomes import BadRequestError
from online.recommend.types import RELEASE

KEY: Final = CANARY_KEY
KEPT: Final = 50  # ended canaries
STEPS: Final = (
    0.25,
    0.5,
)  # after the share that it begins with; then the release is activated
MAX_SHARE: Final = 0.5  # as many users are the group that it is compared with
USERS: Final = 1_000  # of a step, where so many may come

SUPERSEDED, DELETED = "superseded", "deleted"  # reasons that are no guardrail

Member = Literal["canary", "active"]
GROUPS: Final[tuple[Member, ...]] = ("canary", "active")
Verdict = Literal["activated", "rolled back", "stopped"]
ReleaseId = Annotated[str, Field(pattern=RELEASE)]


class CanaryError(BadRequestError):
    """A canary cannot be started or stopped as requested."""


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
        description="when the step's users join: seconds since 1970-01-01 UTC"
    )
    activating: bool = Field(
        default=False, description="it has held, and the pointer is being moved"
    )
    waiting: bool = Field(
        default=False,
        description="its last step is over without enough feedback: a person, or more of it, activates it",
    )

    @property
    def share(self) -> float:
        return self.shares[self.step]

    @property
    def is_last(self) -> bool:
        """Whether the release is activated after this step."""
        return self.step + 1 == len(self.shares)

    @property
    def name(self) -> str:
        """Name of its exposures in the log, which is that of experiments."""
        return f"canary-{self.id}"

    def experiment(self, horizon_s: float) -> Experiment:
        """The experiment that its exposures are of."""
        arms = {"active": Arm(release=self.active), "canary": Arm(release=self.release)}
        return Experiment(
            name=self.name,
            arms=arms,
            metric="hits",
            horizon_s=max(int(horizon_s), 60),
            share=2 * self.shares[0],
            planned_users=max(2 * self.users, 100),
            dataset=self.dataset,
            buckets=(),
            started=int(self.began),
        )

    def status(self, now: float) -> str:
        """The canary in words, and in the announcement of the first step when its users join."""
        announced = self.step == 0 and now < self.joined
        at = time.strftime("%H:%M:%S", time.gmtime(self.joined))
        return f"{self}; announced, first users at {at} UTC" if announced else str(self)

    def __str__(self) -> str:
        where = f"step {self.step + 1} of {len(self.shares)}"
        waits = (
            f"; waits for more feedback or `make activate release={self.release}`"
            if self.waiting
            else ""
        )
        return f"canary of release {self.release}: {self.share:.0%} of the users, {where}{waits}"


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
        return self.verdict == "rolled back" and self.reason not in (
            SUPERSEDED,
            DELETED,
        )

    @property
    def result(self) -> str:
        """Verdict and reason, in words."""
        why = ": ".join(filter(None, (self.reason, self.detail)))
        return f"{self.verdict} at {self.share:.0%}{f', {why}' if why else ''}"

    def __str__(self) -> str:
        return f"canary of release {self.release} {self.result}"


class Canaries(BaseModel):
    """The release on trial, if there is one, and those that were, newest first."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    running: Canary | None = None
    ended: tuple[Ended, ...] = ()


# --- transitions


def started(
    before: Canaries,
    release: str,
    active: str | None,
    published: Mapping[str, str],
    *,
    share: float,
    users: int | None,
    known: int,
    now: float,
    away_s: float,
    new_id: str,
) -> Canaries:
    """Begin a canary. Raises CanaryError.

    Args:
        published: release -> data set.
        users: of each step; None: `USERS`, or as many as fit.
        known: users of the active release. A step may need half of its share of them: not all come.
    """
    if before.running is not None:
        raise CanaryError(
            "release",
            f"A canary runs already ({before.running}): `make canary stop=1` ends it.",
        )
    if not 0 < share <= MAX_SHARE:
        raise CanaryError(
            "share", f"share must be above 0 and at most {MAX_SHARE:g}, not {share:g}."
        )
    if active is None:
        raise CanaryError(
            "release",
            "No release is active to compare with: `make sync` activates one.",
        )
    if release not in published:
        there = ", ".join(each for each in published if each != active) or "none"
        raise CanaryError(
            "release",
            f"Release {release} is not published; published besides the active one: {there}",
        )
    if release == active:
        raise CanaryError(
            "release",
            f"Release {release} is the active one: name another that is published.",
        )
    if published[release] != published.get(active):
        raise CanaryError(
            "release",
            f"Release {release} is of another data set than the active release {active}.",
        )
    most = int(share * known / 2)
    users = min(USERS, most) if users is None else users
    if not 1 <= users <= most:
        of = f"half of {share:g} of the {known:,} users of release {active}"
        raise CanaryError(
            "users",
            f"users must be from 1 to {most:,} ({of}), not {users:,}: or name a larger share.",
        )
    canary = Canary(
        id=new_id,
        release=release,
        active=active,
        dataset=published[release],
        users=users,
        began=now,
        shares=(share, *(step for step in STEPS if step > share)),
        joined=now + away_s,
    )
    return before.model_copy(update={"running": canary})


def after(
    before: Canaries, canary: Canary, decision: Decision, now: float, away_s: float
) -> Canaries:
    """Follow a decision, unless the canary is not as it was when it was decided on."""
    if before.running != canary or decision.action == "hold" or canary.activating:
        return before
    if decision.action == "roll back":
        return ended(
            before, canary, "rolled back", decision.reason, decision.detail, now
        )
    step: dict[str, Any]
    if decision.action == "wait":
        step = {"waiting": True}
    elif canary.is_last:
        step = {"activating": True, "waiting": False}
    else:
        step = {"step": canary.step + 1, "joined": now + away_s}
    return before.model_copy(update={"running": canary.model_copy(update=step)})


def ended(
    before: Canaries,
    canary: Canary,
    verdict: Verdict,
    reason: str = "",
    detail: str = "",
    now: float = 0.0,
) -> Canaries:
    """End a canary, unless another process has."""
    if before.running is None or before.running.id != canary.id:
        return before
    entry = Ended(
        id=canary.id,
        release=canary.release,
        active=canary.active,
        share=before.running.share,
        began=canary.began,
        ended=now,
        verdict=verdict,
        reason=reason,
        detail=detail,
    )
    return Canaries(running=None, ended=(entry, *before.ended)[:KEPT])


def superseded(before: Canaries, active: str | None, now: float) -> Canaries:
    """End a canary whose release was activated, or whose active release was replaced."""
    canary = before.running
    if canary is None or active == canary.active:
        return before
    if active == canary.release:
        return ended(
            before, canary, "activated", "" if canary.activating else "by hand", now=now
        )
    return ended(
        before,
        canary,
        "rolled back",
        SUPERSEDED,
        f"release {active} was activated",
        now,
    )


def deleted(before: Canaries, gone: Collection[str], now: float) -> Canaries:
    """End a canary whose release is among those ``gone``."""
    canary = before.running
    if canary is None or canary.release not in gone:
        return before
    return ended(before, canary, "rolled back", DELETED, "its release was deleted", now)


# --- assignment


def member(canary: Canary, userid: OwnId) -> tuple[Member, bool] | None:
    """The group that a user is in, and whether the user joins with this step; None: in neither group.

    By hash alone. A user stays in a group in later steps.
    """
    place = bucket(canary.id, userid, b"canary") / BUCKETS
    before = canary.shares[canary.step - 1] if canary.step else 0.0
    if place < canary.share:
        return "canary", place >= before
    if place >= 1 - canary.share:
        return "active", place < 1 - before
    return None
