"""The shapes of what is told of experiments, for the API's description. Tests hold real answers against them."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from extras.experiments.declaration import Kind, Metric


class ToldArm(BaseModel):
    """An arm."""

    model_config = ConfigDict(extra="forbid")

    name: str
    release: str
    share: float = Field(description="of the layer's users")


class ToldExperiment(BaseModel):
    """An experiment that runs, or that did."""

    model_config = ConfigDict(extra="forbid")

    name: str
    layer: str = Field(description="experiments of one layer have no user in common")
    kind: Kind = Field(description="split: a user has one arm; interleaved: a list of both")
    share: float = Field(description="of the layer's users")
    dataset: str = Field(description="whose users they are")
    arms: list[ToldArm] = Field(description="the control first")
    metric: Metric = Field(description="by which it is decided")
    horizon_s: int = Field(description="how long a user is watched, since the first answer")
    planned_users: int = Field(description="the interval is narrowest at so many")
    started: int = Field(description="seconds since 1970-01-01 UTC")
    stopped: int | None = Field(description="null: it runs")


class ToldExperiments(BaseModel):
    """The experiments that there are, the oldest first."""

    experiments: list[ToldExperiment]
