"""A request at the edge: its record, which keys it needs, the reading of its body.

`online.main.s1_server` makes the records; extras observe them, too.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeVar

from flask import g, has_request_context
from pydantic import ValidationError
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import Forbidden, HTTPException, Unauthorized

from data_exchange_center.settings import ServerSettings
from online.recommend.types import Answer, Stopwatch
from online.web import errors

Parsed = TypeVar("Parsed")
View = TypeVar("View", bound=Callable[..., Any])
Scope = Literal["read", "events", "admin"]
SCOPES: Final[dict[Scope, str]] = {
    "read": "recommendations, histories and metrics",
    "events": "recording events",
    "admin": "everything, also forgetting users, items, experiments, faults and switching releases",
}

# --- its record


@dataclass(slots=True)
class Record:
    """One request."""

    id: str  # the client's own when it sent a sane one
    endpoint: str  # the rule that its path matches, never the path itself
    watch: Stopwatch
    scope: Scope = "read"  # that a key needs for it
    status: int = 0
    seconds: float = 0.0
    outcome: str = ""  # "personal", "cold_start" or "degraded" for an answer, the error's code for an error
    # the service that an answer lacks, and what it lacks of it
    degradations: tuple[tuple[str, str], ...] = ()
    answer: Answer | None = None  # where it recommends
    # whatever else its line in the log should say; no secrets
    facts: dict[str, Any] = field(default_factory=dict)
    # of its API key; none: it came without a valid one
    scopes: frozenset[str] = frozenset()
    trusted: bool = True  # False: it comes from another site's page, or without a key to an open server

    def may(self, scope: Scope) -> bool:
        """Whether the request's key has a scope."""
        return not self.scopes.isdisjoint((scope, "admin"))


Observer = Callable[[Record], None]


def current_record() -> Record:
    """The record of the request that is being answered."""
    record: Record = g.record
    return record


def needs_scope(scope: Scope) -> Callable[[View], View]:
    """Mark a view that writes with the scope that its key needs; without this mark it is admin."""

    def mark(view: View) -> View:
        view.scope = scope  # type: ignore[attr-defined]
        return view

    return mark


only_reads = needs_scope("read")  # a POST that changes nothing
# records events: on this machine it needs no key until a first one exists
open_at_first = needs_scope("events")


# --- who may send it


def may_record_exposures() -> bool:
    """Whether the items that the request shows may be recorded as shown to its user.

    Not for a page of another site, nor for a client without a key on an open server: either could change what the user
    sees next by reading. True outside of HTTP requests.
    """
    return not has_request_context() or current_record().trusted


def missing_scope(scope: Scope) -> HTTPException:
    """The error of a request that needs a key: 401 without a valid one, 403 with one that lacks the scope."""
    record, create = (
        current_record(),
        f"make api-key name=<name> scope={scope} creates one.",
    )
    if record.scopes:
        return Forbidden(
            f"The key {record.facts['key']!r} lacks the scope {scope}; {create}"
        )
    return Unauthorized(
        f"This request needs an API key with the scope {scope}: send the header Authorization: Bearer <key>; {create}",
        www_authenticate=WWWAuthenticate("bearer"),
    )


def expect_within_budget(
    server: ServerSettings, *, strict: bool, budget_ms: int = 0
) -> None:
    """Raise Forbidden for a request that may take longer than the server's budget, from a client without a key.

    Only on an open server. Strict requests wait for the timeouts of the services.
    """
    if not strict and budget_ms <= server.budget_ms:
        return
    anybody_may = server.strict_for == "all" or not server.is_open
    if anybody_may or current_record().may("read"):
        return
    what = "A strict request" if strict else f"budget_ms above {server.budget_ms}"
    raise Forbidden(
        f"{what} needs an API key on an open server, or RECSYS_SERVER__STRICT_FOR=all."
    )


# --- its body


def validated(
    body: bytes,
    validate: Callable[[bytes], Parsed],
    *shape: str,
) -> Parsed:
    """Parse a body by ``validate``, whatever its Content-Type, so that a plain `curl -d` works. Raises BadRequestError.

    ``shape``: as of `errors.explained`.
    """
    try:
        return validate(body)
    except ValidationError as error:
        raise errors.explained(body, error, *shape) from error
