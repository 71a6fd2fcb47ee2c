"""The shapes of what the server answers, for the API's description. Tests hold real answers against them."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from data_exchange_center.own_ids import OwnId
from online.explain.shapes import Explanation


class Item(BaseModel):
    """One recommended item, with what the data set says of it."""

    model_config = ConfigDict(extra="allow", title="Item")

    itemid: OwnId
    score: float = Field(description="by the ranking model, or by recall where that did not rank; higher is better")
    title: str


class StageReport(BaseModel):
    """One stage of a request: a service, what it was sent and what came back; or re-ranking for diversity."""

    model_config = ConfigDict(extra="forbid")

    stage: str
    began_ms: float = Field(description="since the request's arrival")
    took_ms: float
    failed: bool
    sent: dict[str, int | dict[str, int]] = Field(description="counts, by what is counted")
    received: dict[str, int | dict[str, int]] = Field(description="counts; empty where the stage failed")


class Lacking(BaseModel):
    """One thing that an answer lacks."""

    service: str = Field(description="whose part is missing")
    reason: str = Field(description="what is wrong with it")
    instead: str = Field(description="what the answer has in its place: a word for programs")


class InExperiment(BaseModel):
    """An experiment that had a part in an answer."""

    model_config = ConfigDict(extra="forbid")

    experiment: str
    layer: str
    arms: list[str] = Field(description="the user's one; both, where the list is interleaved of theirs")


class Answer(BaseModel):
    """The best unseen items, best first, or in the order that diversity wants."""

    userid: OwnId
    release: str = Field(description="which one has answered")
    recommendation: str = Field(description="the answer's name, for events that come of it")
    experiments: list[InExperiment] = Field(default=[], description="what decided on the release; absent if none did")
    cold_start: bool = Field(description="the release knows nothing of this user: the popular list")
    diversity: float | None = Field(
        default=None, description="that the list was re-ranked with; absent where its order is that of the scores"
    )
    item_list: list[Item]
    took_ms: dict[str, float] = Field(description="milliseconds with each service, on diversity, and in total")
    degraded: list[Lacking] = Field(default=[], description="what the answer lacks; absent when it lacks nothing")
    reason: str = Field(default="", description="the same in sentences, and why an answer is not personal")
    recall: dict[str, list[OwnId]] = Field(default={}, description="with explain: what recall found, best first")
    explained: list[Explanation] = Field(
        default=[], description="with explain: true: why each item is there, in the order of item_list"
    )
    stages: list[StageReport] = Field(default=[], description="with stages: what each was sent and what came back")


class Error(BaseModel):
    """What went wrong."""

    model_config = ConfigDict(extra="forbid")

    code: str = Field(description="for programs")
    message: str = Field(description="a sentence for people")
    field: str = Field(default="", description="400: which field of the request, or body")
    service: str = Field(default="", description="503: which service")


class ErrorAnswer(BaseModel):
    """Every error has this shape."""

    model_config = ConfigDict(extra="forbid")

    error: Error


class Alive(BaseModel):
    """This process runs."""

    alive: bool


class ServiceState(BaseModel):
    """Whether a service answers, and which version it is."""

    ready: bool
    version: str = ""
    took_ms: float = 0
    message: str = Field(default="", description="why it does not")
    breaker: Literal["closed", "half_open", "open"] = Field(description="open: it is not asked for a moment")


class Ready(BaseModel):
    """Whether the server could answer now, and how well."""

    status: Literal["ready", "degraded", "unready"] = Field(description="degraded: it answers, without something")
    ready: bool = Field(description="everything is there")
    release: str | None
    recipe: str | None
    message: str = ""
    services: dict[str, ServiceState]
    outcomes: dict[str, int] = Field(description="how many answers of this process had which outcome")
