"""A request at the edge: its record, who may send it, the reading of its body, its line in the log.

Extras observe records, too. The log is JSON, one object a line, one line a request.

A web page that is open on this machine may send requests to 127.0.0.1 under a host name of its owner's (DNS rebinding),
and the browser lets the page read the answers. The name in ``Host`` gives it away.
"""

import logging
import re
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, Literal, TypeVar
from urllib.parse import urlsplit

from flask import Flask, Response, current_app, g, has_request_context, request
from pydantic import ValidationError
from pythonjsonlogger.json import JsonFormatter
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import Forbidden, HTTPException, Unauthorized

from data_exchange_center.settings import ServerSettings, is_loopback
from online.recommend.outcomes import BadRequestError, Outcome
from online.recommend.types import Answer, Stopwatch
from online.web import asgi, errors

access = logging.getLogger("online.access")

Parsed = TypeVar("Parsed")
View = TypeVar("View", bound=Callable[..., Any])
Scope = Literal["read", "events", "admin"]
SCOPES: Final[dict[Scope, str]] = {
    "read": "recommendations, histories and metrics",
    "events": "recording events",
    "admin": "everything, also forgetting users, items, experiments, faults and switching releases",
}

# --- its record

HEADER: Final = "X-Request-ID"
_GIVEN = re.compile(r"[\w.-]{1,64}", re.ASCII)
UNMATCHED: Final = "unmatched"  # endpoint of a path without a route
_PATH = 100  # characters of a path that are logged
_READS: Final = frozenset({"GET", "HEAD"})
_LOCAL_NAMES: Final = ["localhost", "127.0.0.1"]  # werkzeug matches no IPv6 address


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
    degradations: tuple[
        tuple[str, str], ...
    ] = ()  # the service that an answer lacks, and what it lacks of it
    facts: dict[str, Any] = field(
        default_factory=dict
    )  # whatever else its line in the log should say; no secrets
    scopes: frozenset[str] = (
        frozenset()
    )  # of its API key; none: it came without a valid one
    trusted: bool = True  # False: it comes from another site's page, or without a key to an open server

    def may(self, scope: Scope) -> bool:
        """Whether the request's key has a scope."""
        return not self.scopes.isdisjoint((scope, "admin"))

    def recommended(self, answer: Answer) -> None:
        """Record how a recommendation ended."""
        self.degradations = tuple(
            (each.service, each.outcome.value) for each in answer.degraded
        )
        ended = Outcome.COLD_START if answer.cold_start else Outcome.PERSONAL
        self.outcome = "degraded" if self.degradations else ended.value
        self.facts |= {
            "recommendation": answer.recommendation,
            "release": answer.release,
        }
        if self.degradations:
            self.facts["degraded"] = tuple(outcome for _, outcome in self.degradations)


Observer = Callable[[Record], None]


def current_record() -> Record:
    """The record of the request that is being answered."""
    record: Record = g.record
    return record


def needs_scope(scope: Scope) -> Callable[[View], View]:
    """Mark the view of a POST, PUT, PATCH or DELETE that needs no key with the scope admin, as others do."""

    def mark(view: View) -> View:
        view.scope = scope  # type: ignore[attr-defined]
        return view

    return mark


only_reads = needs_scope("read")  # a POST that changes nothing
open_at_first = needs_scope(
    "events"
)  # records events: on this machine it needs no key until a first one exists


def register_records(
    app: Flask, server: ServerSettings, observers: Sequence[Observer]
) -> None:
    """Give every request a record and an id, and call the observers with it when it has its response.

    Refuses requests to other host names (400, by Flask), and from other machines unless the settings allow (403).
    """
    local = is_loopback(server.host) and not server.proxies
    if allowed := [
        host.strip() for host in server.allowed_hosts.split(",") if host.strip()
    ]:
        app.config["TRUSTED_HOSTS"] = allowed
    elif local:
        app.config["TRUSTED_HOSTS"] = [*_LOCAL_NAMES, server.host]
    loopback = lru_cache(maxsize=1024)(is_loopback)

    @app.before_request
    def begin() -> None:
        given, view = (
            request.headers.get(HEADER, ""),
            current_app.view_functions.get(request.endpoint or ""),
        )
        complete = request.environ.get(
            asgi.COMPLETE_SINCE
        )  # the wait for a thread counts
        g.record = Record(
            id=given if _GIVEN.fullmatch(given) else uuid.uuid4().hex[:16],
            endpoint=request.url_rule.rule if request.url_rule else UNMATCHED,
            watch=Stopwatch(complete or time.perf_counter()),
            scope="read"
            if request.method in _READS or view is None
            else getattr(view, "scope", "admin"),
        )
        # Flask's own server listens where its command line says, whatever the settings say.
        if local and request.remote_addr and not loopback(request.remote_addr):
            raise Forbidden(
                "This server serves its own machine only; RECSYS_SERVER__HOST=0.0.0.0 opens it to others."
            )

    @app.after_request
    def end(response: Response) -> Response:
        record: Record = g.record
        record.status = response.status_code
        record.seconds = time.perf_counter() - record.watch.began
        response.headers[HEADER] = record.id
        for name, value in asgi.DEFAULT_HEADERS.items():
            response.headers.setdefault(name, value)
        for observer in observers:
            observer(record)
        return response


# --- who may send it


def guard_writes(app: Flask, server: ServerSettings) -> None:
    """Refuse writes without a key where they need one, and those that a page of another web site sends.

    Events need one on an open server, anything else that writes needs one everywhere. Register it after the extras:
    `extras.keys` notes the scopes of a request's key first, and may require keys for more.
    """
    is_open = server.is_open

    @app.before_request
    def check() -> None:
        record: Record = g.record
        cross_site = is_cross_site()
        record.trusted = bool(record.scopes) or not (is_open or cross_site)
        if record.scope == "read" or record.may(record.scope):
            return
        if record.scope == "admin" or is_open or record.scopes:
            raise missing_scope(record.scope)
        if cross_site:
            raise Forbidden("Cross-site writes require an API key.")


def is_cross_site() -> bool:
    """Whether a browser says that a page of another origin sent the request.

    ``Sec-Fetch-Site`` is "same-site" for another port or subdomain of the same host, which may be anybody's.
    """
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    if site is not None:
        return site not in ("same-origin", "none")
    try:
        return origin is not None and urlsplit(origin).netloc != request.host
    except ValueError:  # no origin that a browser sends
        return True


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
    beyond = budget_ms > server.budget_ms
    if (
        not (strict or beyond)
        or server.strict_for == "all"
        or not server.is_open
        or current_record().may("read")
    ):
        return
    what = "A strict request" if strict else f"budget_ms above {server.budget_ms}"
    raise Forbidden(
        f"{what} needs an API key on an open server, or RECSYS_SERVER__STRICT_FOR=all."
    )


# --- its body


def validated(
    body: bytes,
    validate: Callable[[bytes], Parsed],
    shape: str = 'a JSON object, for example {"userid": 1, "size": 50}',
) -> Parsed:
    """Parse a body by ``validate``, whatever its Content-Type, so that a plain `curl -d` works. Raises BadRequestError.

    ``shape``: what the body must be as a whole.
    """
    if not body.strip():
        raise BadRequestError(errors.BODY, f"The body is empty; expected {shape}.")
    try:
        return validate(body)
    except ValidationError as error:
        raise errors.explained(error, shape) from error


def log_request(record: Record) -> None:
    """Log a request as one line, its facts as fields. Without the query string: a key may have been put there."""
    facts = {
        "message": "request",
        "method": request.method,
        "path": request.path[:_PATH],
        "status": record.status,
        "ms": round(record.seconds * 1e3, 1),
        **({"outcome": record.outcome} if record.outcome else {}),
        **record.facts,
        **{
            f"{name}_ms": round(stage.seconds * 1e3, 1)
            for name, stage in record.watch.stages.items()
        },
    }
    access.info(facts)


class JsonLines(JsonFormatter):
    """time (UTC), level, logger, message, the id of the request it was said in; a message that is a dict as fields."""

    def __init__(self) -> None:
        names = {"levelname": "level", "name": "logger", "exc_info": "exception"}
        first = {"time": None}
        super().__init__(
            ["levelname", "name", "message"],
            rename_fields=names,
            defaults=first,
            timestamp="time",
        )

    def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
        if has_request_context() and "record" in g:
            log_data["id"] = g.record.id
        return log_data
