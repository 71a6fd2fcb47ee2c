"""The base of every configuration: pydantic models that are never changed and take no unknown key."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """Base class: frozen, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")
