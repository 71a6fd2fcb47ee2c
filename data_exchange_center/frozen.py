"""Base of configurations that travel with a release."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """Base of every configuration: never changed; unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")
