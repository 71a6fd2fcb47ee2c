"""Experiments: their declaration, the users that are in them, and how they are started, stopped and resized.

Users are assigned by hash alone, so every worker assigns a user alike. Each running experiment holds some of the
buckets, and no two share a user (one layer of Tang et al. 2010, Overlapping Experiment Infrastructure). Within an
experiment its own hash decides on the arm: a user with the treatment of one experiment is no likelier to get that of
the next in the same buckets. Arms' weights never change: when an experiment's share does, users join or leave it, and
nobody changes arms.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from itertools import accumulate
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from data_exchange_center.dataset import OwnId
from extras.published import readable
from online.clients.redis import RedisUsers
from online.recommend.outcomes import BadRequestError
from online.recommend.types import RELEASE

MAX_ARMS: Final = 8
DAY_S: Final = 86_400
BUCKETS: Final = 10_000  # of all users; and of an experiment's, for its arms
CANARY_KEY: Final = "ml:canary"  # string: the release on trial (extras/canary), "running": null where there is none
KEPT: Final = (
    200  # experiments, running ones included; the oldest stopped ones are dropped
)

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$")]
Kind = Literal["split", "interleaved"]
Metric = Literal["hit", "hits", "gain"]
Ranges = tuple[tuple[int, int], ...]  # [first, after the last) of buckets


class ExperimentError(BadRequestError):
    """An experiment cannot be started or changed as requested; ``field``: the part of the declaration."""


class Arm(BaseModel):
    """A release that some of an experiment's users are answered from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    release: Annotated[str, Field(pattern=RELEASE)]
    weight: Annotated[int, Field(ge=1, le=1_000)] = (
        1  # of a split: its part of the users, relative to the other arms'
    )


class Declaration(BaseModel):
    """A declared experiment. Its first arm is the control, against which the others are measured.

    A split gives each user one arm, for as long as it runs. An interleaved one gives everybody a list that both arms
    have drafted from theirs in turns.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name = Field(description="of letters, digits, - and _")
    kind: Kind = Field(
        default="split",
        description="split: a user has one arm; interleaved: a list of both",
    )
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

    @model_validator(mode="after")
    def _two_teams(self) -> Self:
        if self.kind == "interleaved" and len(self.arms) != 2:
            raise ValueError("two arms are interleaved, no more")
        if self.kind == "interleaved" and any(
            arm.weight != 1 for arm in self.arms.values()
        ):
            raise ValueError(
                "interleaved arms have no weights: each drafts every other item"
            )
        return self

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


Experiments = tuple[Experiment, ...]
EXPERIMENTS: Final[TypeAdapter[Experiments]] = TypeAdapter(
    Experiments
)  # reads and writes what Redis holds, as JSON


def named(experiments: Sequence[Experiment], name: str) -> Experiment:
    """Find an experiment. Raises ExperimentError."""
    for each in experiments:
        if each.name == name:
            return each
    there = ", ".join(each.name for each in experiments) or "none"
    raise ExperimentError(
        "name", f"No experiment is called {name!r}; there are: {there}"
    )


class ArmView(BaseModel):
    """An arm."""

    model_config = ConfigDict(extra="forbid")

    name: str
    release: str
    share: float = Field(description="of all users")


class ExperimentView(BaseModel):
    """An experiment that runs, or that did."""

    model_config = ConfigDict(extra="forbid")

    name: str
    kind: Kind = Field(
        description="split: a user has one arm; interleaved: a list of both"
    )
    share: float = Field(description="of all users")
    dataset: str = Field(description="whose users they are")
    arms: list[ArmView] = Field(description="the control first")
    metric: Metric = Field(description="by which it is decided")
    horizon_s: int = Field(
        description="how long a user is watched, since the first answer"
    )
    planned_users: int = Field(description="the interval is narrowest at so many")
    started: int = Field(description="seconds since 1970-01-01 UTC")
    stopped: int | None = Field(description="null: it runs")

    @classmethod
    def of(cls, experiment: Experiment) -> ExperimentView:
        """Description without buckets, with each arm's share of all users."""
        total = (
            1
            if experiment.kind == "interleaved"
            else sum(arm.weight for arm in experiment.arms.values())
        )
        arms = [
            ArmView(
                name=name,
                release=arm.release,
                share=round(experiment.share * arm.weight / total, 4),
            )
            for name, arm in experiment.arms.items()
        ]
        return cls(**experiment.model_dump(exclude={"buckets", "arms"}), arms=arms)


# ------------------------------------------------------------------------------------------------ which users are in it


def bucket(salt: str, userid: OwnId, purpose: bytes) -> int:
    """Hash a user to 0 to `BUCKETS` - 1, uniformly; independent for another salt or purpose."""
    digest = blake2b(
        str(userid).encode(), digest_size=8, key=salt.encode(), person=purpose
    ).digest()
    return int.from_bytes(digest) % BUCKETS


def dealt(running: Iterable[Experiment], userid: OwnId) -> Experiment | None:
    """The experiment that decides on a user's release: the one that holds the user's bucket."""
    place = bucket("main", userid, b"layer")
    return next(
        (
            each
            for each in running
            if any(first <= place < after for first, after in each.buckets)
        ),
        None,
    )


def arm_of(experiment: Declaration, userid: OwnId) -> str:
    """The arm that a user of the experiment has; of an interleaved one, the arm that answers if the other cannot."""
    place = bucket(experiment.name, userid, b"arm")
    weights = [arm.weight for arm in experiment.arms.values()]
    limits = zip(experiment.arms, accumulate(weights), strict=True)
    return next(
        name for name, limit in limits if place * sum(weights) < limit * BUCKETS
    )


def resized(held: Ranges, others: Iterable[Ranges], size: int) -> Ranges | None:
    """Choose ``size`` buckets, as many of those ``held`` as possible; None if too few are free.

    So as few users as possible join or leave.
    """
    mine = _places([held])
    free = sorted(set(range(BUCKETS)) - mine - _places(others))
    chosen = sorted([*sorted(mine)[:size], *free[: max(size - len(mine), 0)]])
    if len(chosen) < size:
        return None
    begins = [
        place
        for place, before in zip(chosen, [-2, *chosen], strict=False)
        if place != before + 1
    ]
    ends = [
        place + 1
        for place, after in zip(chosen, [*chosen[1:], -1], strict=True)
        if after != place + 1
    ]
    return tuple(zip(begins, ends, strict=True))


def _places(held: Iterable[Ranges]) -> set[int]:
    return {
        place
        for ranges in held
        for first, after in ranges
        for place in range(first, after)
    }


# -------------------------------------------------------------------------------------------------------------- changes


def published_releases(users: RedisUsers) -> tuple[str | None, dict[str, str]]:
    """The active release; and each published release -> `Dataset.base_name`. Raises ServiceError, ExperimentError."""
    if b'"running":{' in users.value(CANARY_KEY):
        raise ExperimentError(
            "name",
            "A canary runs, and decides on users' releases: `make canary stop=1` ends it.",
        )
    active, listed = users.listed()
    return active, {
        each.manifest.release: each.manifest.dataset.base_name
        for each in readable(users, listed)
    }


def started(
    experiments: Experiments,
    declared: Declaration,
    published: Mapping[str, str],
    now: int,
) -> Experiments:
    """Add an experiment, which runs from now on. ``published``: as `published_releases`. Raises ExperimentError."""
    if any(each.name == declared.name for each in experiments):
        there = f"There is an experiment called {declared.name!r}"
        raise ExperimentError(
            "name", f"{there}. Choose a new name: its log bears the name."
        )
    for name, arm in declared.arms.items():
        if arm.release not in published:
            there = ", ".join(published) or "none"
            raise ExperimentError(
                "arms",
                f"Arm {name!r} names release {arm.release}, which is not published; published: {there}",
            )
    datasets = {published[arm.release] for arm in declared.arms.values()}
    if len(datasets) > 1:
        raise ExperimentError(
            "arms",
            f"The arms' releases are of several data sets: {', '.join(sorted(datasets))}",
        )
    buckets = _buckets(experiments, declared, declared.share)
    new = Experiment(
        **declared.model_dump(), dataset=datasets.pop(), buckets=buckets, started=now
    )
    running = [each for each in experiments if each.runs]
    over = [each for each in experiments if not each.runs]
    return (*over[max(len(over) + len(running) + 1 - KEPT, 0) :], *running, new)


def stopped(experiments: Experiments, name: str, now: int) -> Experiments:
    """Stop an experiment. Raises ExperimentError."""
    return _replaced(
        experiments, _running(experiments, name).model_copy(update={"stopped": now})
    )


def reshared(experiments: Experiments, name: str, share: float) -> Experiments:
    """Change an experiment's share of the users. Raises ExperimentError."""
    if not 0 < share <= 1:
        raise ExperimentError(
            "share", f"share must be above 0 and at most 1, not {share:g}"
        )
    changed = _running(experiments, name)
    buckets = _buckets(experiments, changed, share, changed.buckets)
    return _replaced(
        experiments, changed.model_copy(update={"share": share, "buckets": buckets})
    )


def _running(experiments: Experiments, name: str) -> Experiment:
    found = named(experiments, name)
    if not found.runs:
        raise ExperimentError("name", f"Experiment {name!r} is stopped")
    return found


def _buckets(
    experiments: Experiments, declared: Declaration, share: float, held: Ranges = ()
) -> Ranges:
    others = [
        each.buckets for each in experiments if each.runs and each.name != declared.name
    ]
    if (buckets := resized(held, others, max(round(share * BUCKETS), 1))) is None:
        free = 1 - len(_places(others)) / BUCKETS
        raise ExperimentError(
            "share",
            f"{share:.2%} of the users are wanted, and {free:.2%} are in no other experiment. "
            "Take a smaller share, or stop an experiment.",
        )
    return buckets


def _replaced(experiments: Experiments, changed: Experiment) -> Experiments:
    return tuple(changed if each.name == changed.name else each for each in experiments)
