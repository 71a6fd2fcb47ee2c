"""What can be asked in an address."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from data_exchange_center.dataset import MAX_BYTES
from online.clients.redis import COMPARED_USERS
from online.recommend.types import RELEASE

Release = Annotated[str, Field(pattern=RELEASE)]
FEWEST = (
    "true: those with the fewest events first (where ids must begin with q: of the first "
    f"{COMPARED_USERS:,} of these); false: in the order of the ids' text"
)
_RELEASE = "a release's id: twelve characters, 0-9 and a-f"


class _Query(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    release: Annotated[Release | None, Field(description=f"{_RELEASE}; the live one if not given")] = None


class UsersQuery(_Query):
    """Users to choose from."""

    q: Annotated[str, Field(max_length=MAX_BYTES, description="what their ids begin with; that very id first")] = ""
    fewest: Annotated[bool, Field(description=FEWEST)] = False
    size: Annotated[int, Field(ge=1, le=100, description="how many, 1 to 100")] = 20


class UserQuery(_Query):
    """One user's history."""

    userid: Annotated[str, Field(min_length=1, max_length=MAX_BYTES, description="the user's own id")]
    size: Annotated[int, Field(ge=1, le=1000, description="how many events, 1 to 1000")] = 100


class ItemsQuery(_Query):
    """Items by title."""

    q: Annotated[str, Field(min_length=1, max_length=100, description="words of the title, up to 100 characters")]
    size: Annotated[int, Field(ge=1, le=50, description="how many, 1 to 50")] = 10


class MapQuery(_Query):
    """Items on a plane."""


class Activation(BaseModel):
    """Which release is to be served from now on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    release: Annotated[Release, Field(description=_RELEASE)]
