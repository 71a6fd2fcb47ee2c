"""Pagination by cursor: an answer's cursor holds the items shown so far, and the next page leaves them out.

Each page is the best that the pages before have not shown, with what the user did in between. The server keeps nothing.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Annotated, Any, Final

import numpy as np
from pydantic import Field, TypeAdapter

from data_exchange_center.candidates import StoredUser
from data_exchange_center.dataset import OwnId
from extras.questions.rank import kept
from online.recommend.loaded_release import Release
from online.recommend.outcomes import BadRequestError
from online.recommend.types import Answer, Request, Slate, absent_by_default

MAX_SHOWN: Final = 10_000  # items of all pages
_WANTED: Final = 'true for a first page, then the "cursor" of the answer before'
_MAX_LENGTH: Final = 200_000  # characters
_SHOWN: Final = TypeAdapter(Annotated[list[OwnId], Field(max_length=MAX_SHOWN)])
END: Final = ("end_of_list", "The list ends here.")


class CursorRequest(Request):
    """For a page of a list."""

    cursor: bool | Annotated[str, Field(min_length=1, max_length=_MAX_LENGTH)] = Field(
        default=False, description=_WANTED
    )


class CursorAnswer(Answer):
    """Answer with cursor."""

    cursor: str | None = absent_by_default(
        None, "with cursor: for the next page; absent where the list has ended"
    )


def shown_before(cursor: bool | str) -> list[OwnId]:
    """The items on the pages before. Raises BadRequestError."""
    if isinstance(cursor, bool):
        return []
    try:
        return _SHOWN.validate_json(urlsafe_b64decode(cursor))
    except ValueError as error:
        raise BadRequestError(
            "cursor", f"cursor is not valid; it must be {_WANTED}."
        ) from error


def leave_out_shown(request: Any, opened: Release, user: StoredUser) -> StoredUser:
    """The user, with the shown items among the seen ones."""
    if user.is_blank:
        return user
    return user.without(opened.known(shown_before(request.cursor)))


def drop_shown(slate: Slate) -> None:
    """Remove the shown items from a popular list."""
    request: Any = slate.request
    shown = slate.release.known(shown_before(request.cursor))
    slate.ranked = kept(slate.ranked, ~np.isin(slate.ranked.item_numbers, shown))


def add(slate: Slate) -> None:
    """Add the cursor of the next page."""
    request: Any = slate.request
    before = shown_before(request.cursor)
    if before:
        slate.end = END
    shown = [*before, *(item.itemid for item in slate.items)]
    is_full = len(slate.items) == request.size
    if request.cursor and is_full and len(shown) <= MAX_SHOWN:
        text = json.dumps(shown, separators=(",", ":"))
        slate.more["cursor"] = urlsafe_b64encode(text.encode()).decode()
