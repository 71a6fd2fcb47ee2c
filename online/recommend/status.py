"""What a process says of itself while it runs: for `/metrics`, at no cost to a request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Status:
    """A moment of one process."""

    release: str | None  # that requests are answered from; None until the first is open
    recipe: str | None
    items_fetched_at: float | None  # Unix seconds: since when its films' features are at hand
    open_releases: int
    waiting_for_features: int  # requests whose user's features are not being fetched yet
    breakers: Mapping[str, str] = field(default_factory=dict)  # service -> "closed", "half_open" or "open"
