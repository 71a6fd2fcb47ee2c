"""Faults: what is declared, and where all workers of a server find it, in Redis."""

from __future__ import annotations

import time
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from data_exchange_center.settings import ExtensionSettings
from online.clients.redis import RedisClient

Service = Literal["elasticsearch", "redis", "triton", "feast"]
Kind = Literal["slow", "down", "reset", "garbage"]
SERVICES: Final[tuple[Service, ...]] = get_args(Service)
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
OFF: Final = (
    "Faults cannot be switched on here. "
    "On a server for demonstrations: start it with RECSYS_SERVER__FAULTS=on."
)


def fault_key(service: str) -> str:
    """String: the service's fault, as JSON, which expires with it."""
    return f"ml:fault:{service}"


class FaultSettings(ExtensionSettings, env_prefix="RECSYS_SERVER__"):
    """Settings of this extension."""

    # on: holders of an admin key can break the calls of services
    faults: Literal["off", "on"] = "off"


class Fault(BaseModel):
    """What is done to the calls of one service."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    service: Service = Field(description="whose calls are broken")
    kind: Kind = Field(
        description="slow: each call waits; down: nothing is reached; reset: the connection ends before the answer; "
        "garbage: the answer's bytes are wrong"
    )
    share: Annotated[
        float,
        Field(
            gt=0, le=1, description="of the calls; one that is repeated counts again"
        ),
    ] = 1.0
    seconds: Annotated[
        int, Field(ge=1, le=3600, description="after which it ends by itself")
    ] = 60
    wait_ms: Annotated[
        int, Field(ge=1, le=10_000, description="how long a slow call waits")
    ] = 300


class ActiveFault(Fault):
    """A fault that is on."""

    until: float = Field(description="when it ends, in seconds since 1970-01-01 UTC")

    @property
    def seconds_left(self) -> float:
        return round(self.until - time.time(), 1)


class FaultStore(RedisClient[None, dict[str, ActiveFault]]):
    """The faults that are on, by service. Raises ServiceError."""

    def _call(self, query: None) -> dict[str, ActiveFault]:
        found = {}
        for service in SERVICES:
            raw: Any = self._redis.get(fault_key(service))
            if raw:
                found[str(service)] = ActiveFault.model_validate_json(raw)
        return found

    def begin(self, fault: Fault) -> None:
        """Switch a fault on, in place of an earlier one of its service."""
        active = ActiveFault(**fault.model_dump(), until=time.time() + fault.seconds)
        with self._limited("begin"):
            self._redis.set(
                fault_key(fault.service), active.model_dump_json(), ex=fault.seconds
            )

    def end(self) -> None:
        """Switch all faults off."""
        with self._limited("end"):
            for service in SERVICES:
                self._redis.delete(fault_key(service))
