"""The shapes of what the server answers, for the API's description. Tests hold real answers against them."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


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
