"""Pagination by cursor: a list continues where a page ended, whatever is rated or goes live in between.

An answer's cursor holds the time of the first page, the newest of the user's events that counted, and the items shown.
With it the same list is made again, and the items shown are dropped. If that leaves less than a page, or another
release answers, they are left out of the search instead. The server keeps nothing.

A cursor can do nothing that a request with ``exclude`` and ``timestamp`` could not, but reading one costs far more
than sending it. So it is signed, and the signature is checked before anything is decompressed. The key is the password
of Redis, which all workers and machines share; without a password anybody can sign.
"""

from __future__ import annotations

import json
from dataclasses import replace
from hashlib import blake2b
from typing import Annotated, Any, ClassVar, Final, Self

import numpy as np
from itsdangerous import BadData, URLSafeSerializer
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    model_validator,
)

from data_exchange_center.candidates import StoredUser
from data_exchange_center.dataset import OwnId
from data_exchange_center.settings import RedisSettings
from extras.questions.rank import kept
from online.recommend.loaded_release import Release
from online.recommend.outcomes import BadRequestError, Outcome
from online.recommend.types import (
    MAX_TIMESTAMP,
    Answer,
    Request,
    Slate,
    absent_by_default,
)

MAX_SHOWN: Final = 10_000  # items of all pages
_WANTED: Final = 'true for a first page, then the "cursor" of the answer before'
_MAX_LENGTH: Final = 200_000  # characters
_Shown = Annotated[list[OwnId], Field(max_length=MAX_SHOWN)]
_BEFORE_ALL: Final = (-1, 0)  # a position before every event in the log
END: Final = ("end_of_list", "The list ends here.")
# a position after every event: the first page knew none, all count from then on
_AFTER_ALL: Final = (2**63 - 1, 0)
# Fields that may change from page to page
_FREE: Final = frozenset(
    {"cursor", "size", "explain", "stages", "budget_ms", "strict", "experiments"}
)


class Cursor(BaseModel):
    """Pagination cursor."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")
    signer: ClassVar[URLSafeSerializer]  # it compresses, too

    request: str  # digest of what the list is of
    timestamp: Annotated[int, Field(ge=0, le=MAX_TIMESTAMP)]  # of the first page
    newest: tuple[int, int]  # place in the log of the newest event that counts
    release: str  # that ranked the items of ``page``
    left: int  # how many more it had ranked
    left_out: _Shown  # before those of ``page``: left out of the search
    page: _Shown  # of that ranked list: dropped after ranking

    def text(self) -> str:
        return self.signer.dumps(self.model_dump(mode="json"))

    @classmethod
    def read(cls, text: str) -> Self:
        """Inverse of `text`. Raises BadRequestError."""
        try:
            return cls.model_validate(cls.signer.loads(text), strict=False)
        except (BadData, ValidationError) as error:
            raise BadRequestError(
                "cursor", f"cursor is not valid; it must be {_WANTED}."
            ) from error


class CursorRequest(Request):
    """For a page of a list."""

    cursor: bool | Annotated[str, Field(min_length=1, max_length=_MAX_LENGTH)] = Field(
        default=False,
        description=f"{_WANTED}; all but size, explain and the like has to stay the same",
    )
    _goes_on: Cursor | None = PrivateAttr(default=None)
    _newest: tuple[int, int] | None = PrivateAttr(default=None)

    @property
    def digest(self) -> str:
        """Hash of all fields that decide which list it is."""
        deciding = self.model_fields_set - _FREE
        what = self.model_dump(mode="json", include=deciding, exclude_unset=True)
        text = json.dumps(what, sort_keys=True)
        return blake2b(text.encode(), digest_size=12).hexdigest()

    def shown(self, release: str) -> tuple[list[OwnId], list[OwnId]]:
        """Items of the pages before: those that are left out of the search, and those that are dropped after it."""
        found = self._goes_on
        if found is None:
            return [], []
        if found.release == release and found.left >= self.size:
            return found.left_out, found.page
        return [*found.left_out, *found.page], []

    @model_validator(mode="after")
    def _as_of_the_first_page(self) -> CursorRequest:
        if isinstance(self.cursor, str):
            self._goes_on = found = Cursor.read(self.cursor)
            if found.request != self.digest:
                free = ", ".join(sorted(_FREE - {"cursor"}))
                raise BadRequestError(
                    "cursor",
                    f"cursor is of another list: from page to page only {free} may change.",
                )
            self._newest = found.newest
            # without marking it as a given field
            object.__setattr__(self, "timestamp", found.timestamp)
        return self


class CursorAnswer(Answer):
    """Answer with cursor."""

    cursor: str | None = absent_by_default(
        None, "with cursor: for the next page; absent where the list has ended"
    )


def signer_of(settings: RedisSettings) -> URLSafeSerializer:
    """What signs the cursors of all servers with this Redis."""
    return URLSafeSerializer(settings.secret or "", salt="cursor")


def as_of_first_page(
    request: Any, opened: Release, stored: StoredUser | None
) -> StoredUser | None:
    """The user of a `CursorRequest` with the events that counted for the first page."""
    if stored is None:
        return None
    found = request._goes_on
    if found is None or found.newest == _AFTER_ALL:
        request._newest = max((each.position for each in stored.events), default=None)
        return stored
    counted = [each for each in stored.events if each.position <= found.newest]
    return replace(stored, events=tuple(counted))


def enough(request: Any) -> int:
    """The request's size, and the items that are dropped after ranking: none where they are left out of the search."""
    found: Cursor | None = request._goes_on
    size: int = request.size
    if found is not None and found.left >= size:
        size += len(found.page)
    return size


def leave_out_shown(request: Any, opened: Release, user: StoredUser) -> StoredUser:
    """The user, with those of the shown items that are left out of the search among the seen ones."""
    left_out, _ = request.shown(opened.release)
    if user.is_blank or not left_out:
        return user
    return user.without(opened.known(left_out))


def drop_shown(slate: Slate) -> None:
    """Remove items of earlier pages from a ranked or popular list."""
    request: Any = slate.request
    opened = slate.release
    left_out, page = request.shown(opened.release)
    shown = opened.known([*left_out, *page])
    slate.ranked = kept(slate.ranked, ~np.isin(slate.ranked.item_numbers, shown))


def add(slate: Slate) -> None:
    """Add the cursor of the next page."""
    request: Any = slate.request
    if not request.cursor:
        return
    release = slate.release.release
    left_out, page = request.shown(release)
    without_state = any(each.outcome is Outcome.POPULAR for each in slate.degraded)
    now = [item.itemid for item in slate.items]
    if request._goes_on is not None:
        slate.end = END
    if len(now) < request.size or len(left_out) + len(page) + len(now) > MAX_SHOWN:
        return
    slate.more["cursor"] = Cursor(
        request=request.digest,
        timestamp=request.timestamp,
        newest=request._newest or (_AFTER_ALL if without_state else _BEFORE_ALL),
        release=release,
        left=len(slate.ranked.item_numbers) - len(now),
        left_out=sorted(left_out, key=str),
        page=sorted([*page, *now], key=str),
    ).text()
