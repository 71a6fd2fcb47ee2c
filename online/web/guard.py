"""A request at the edge: its record, who may send it, what it may contain, its errors, its line in the log.

Extras observe records, too. The log is JSON, one object a line, one line a request.

A web page that is open on this machine may send requests to 127.0.0.1 under a host name of its owner's (DNS rebinding),
and the browser lets the page read the answers. The name in ``Host`` gives it away.
"""

from __future__ import annotations

import json
import logging
import re
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, Literal, TypeVar
from urllib.parse import urlsplit

from flask import Flask, Response, current_app, g, has_request_context, request
from pydantic import ValidationError
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import (
    ClientDisconnected,
    Forbidden,
    HTTPException,
    RequestEntityTooLarge,
    SecurityError,
    Unauthorized,
)

from data_exchange_center.dataset import MAX_BYTES, MAX_INTEGER
from data_exchange_center.errors import RecsysError
from data_exchange_center.settings import ServerSettings, Settings, is_loopback
from online.clients.base import ServiceError
from online.recommend.types import (
    MAX_BUDGET_MS,
    MAX_SIZE,
    MAX_TIMESTAMP,
    MIN_BUDGET_MS,
    Answer,
    BadRequestError,
    LoadingError,
    NoReleaseError,
    Outcome,
    Request,
    Stopwatch,
    UnknownReleaseError,
)
from online.web.asgi import BODY_TOO_LARGE, COMPLETE_SINCE, error_body

log = logging.getLogger(__name__)
access = logging.getLogger("online.access")

Parsed = TypeVar("Parsed")
View = TypeVar("View", bound=Callable[..., Any])

# --- its record

HEADER: Final = "X-Request-ID"
_GIVEN = re.compile(r"[\w.-]{1,64}", re.ASCII)
UNMATCHED: Final = "unmatched"  # endpoint of a path without a route
_PATH = 100  # characters of a path that are logged


@dataclass(slots=True)
class Record:
    """One request."""

    id: str  # the client's own when it sent a sane one
    endpoint: str  # the rule that its path matches, never the path itself
    watch: Stopwatch
    status: int = 0
    seconds: float = 0.0
    outcome: str = ""  # "personal", "cold_start" or "degraded" for an answer, the error's code for an error
    degradations: tuple[str, ...] = ()  # what an answer lacks
    facts: dict[str, Any] = field(default_factory=dict)  # whatever else its line in the log should say; no secrets
    scopes: frozenset[str] = frozenset()  # of its API key; none: it came without a valid one
    trusted: bool = True  # False: it comes from another site's page, or without a key to an open server

    def recommended(self, answer: Answer) -> None:
        """Record how a recommendation ended."""
        self.degradations = tuple(o.value for o in answer.outcomes if o is not Outcome.COLD_START)
        self.outcome = "degraded" if self.degradations else "cold_start" if answer.cold_start else "personal"
        self.facts |= {"recommendation": answer.recommendation, "release": answer.release}
        if self.degradations:
            self.facts["degraded"] = self.degradations


Observer = Callable[[Record], None]


def current_record() -> Record:
    """The record of the request that is being answered."""
    record: Record = g.record
    return record


def register_records(app: Flask, observers: Sequence[Observer]) -> None:
    """Give every request a record and an id, and call the observers with it when it has its response."""

    @app.before_request
    def begin() -> None:
        given = request.headers.get(HEADER, "")
        g.record = Record(
            id=given if _GIVEN.fullmatch(given) else uuid.uuid4().hex[:16],
            endpoint=request.url_rule.rule if request.url_rule else UNMATCHED,
            watch=Stopwatch(request.environ.get(COMPLETE_SINCE)),  # the wait for a thread counts
        )

    @app.after_request
    def end(response: Response) -> Response:
        record = current_record()
        record.status = response.status_code
        record.seconds = record.watch.seconds()
        response.headers[HEADER] = record.id
        for observer in observers:
            observer(record)
        return response


# --- who may send it

_READS: Final = frozenset({"GET", "HEAD"})
_LOCAL_NAMES: Final = ["localhost", "127.0.0.1"]  # werkzeug matches no IPv6 address

Scope = Literal["read", "events", "admin"]
SCOPES: Final[dict[Scope, str]] = {
    "read": "recommendations, histories and metrics",
    "events": "recording events",
    "admin": "everything, also forgetting users, items, experiments and switching releases",
}


def register_guard(app: Flask, server: ServerSettings) -> None:
    """Refuse requests to other host names (400, by Flask), and from other machines unless the settings allow (403)."""
    local = is_loopback(server.host) and not server.proxies
    if allowed := [host.strip() for host in server.allowed_hosts.split(",") if host.strip()]:
        app.config["TRUSTED_HOSTS"] = allowed
    elif local:
        app.config["TRUSTED_HOSTS"] = [*_LOCAL_NAMES, server.host]
    loopback = lru_cache(maxsize=1024)(is_loopback)

    @app.before_request
    def only_this_machine() -> None:
        """Flask's own server listens where its command line says, whatever the settings say."""
        if local and request.remote_addr and not loopback(request.remote_addr):
            raise Forbidden("This server serves its own machine only; RECSYS_SERVER__HOST=0.0.0.0 opens it to others.")


def guard_writes(app: Flask, server: ServerSettings) -> None:
    """Refuse writes without a key where they need one, and those that a page of another web site sends.

    Events need one on an open server, anything else that writes needs one everywhere. Register it after the extras:
    `extras.keys` notes the scopes of a request's key first, and may require keys for more.
    """

    is_open = server.is_open

    @app.before_request
    def check() -> None:
        record, scope = current_record(), required_scope()
        cross_site = is_cross_site()
        record.trusted = bool(record.scopes) or not (is_open or cross_site)
        if scope == "read" or may(scope):
            return
        if scope == "admin" or is_open or record.scopes:
            raise missing_scope(scope)
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


def only_reads(view: View) -> View:
    """Mark a POST that changes nothing. Any other one counts as a write, which needs a key."""
    view.only_reads = True  # type: ignore[attr-defined]
    return view


def open_at_first(view: View) -> View:
    """Mark a view that records events: the scope events suffices, and on this machine no key until a first one exists.

    Any other view that writes needs a key with the scope admin.
    """
    view.open_at_first = True  # type: ignore[attr-defined]
    return view


def writes() -> bool:
    """Whether the request changes something: no read by its method, and its view is not marked `only_reads`."""
    return request.method not in _READS and (found := view()) is not None and not getattr(found, "only_reads", False)


def required_scope() -> Scope:
    """The scope that a key needs for the request."""
    if not writes():
        return "read"
    return "events" if getattr(view(), "open_at_first", False) else "admin"


def may(scope: Scope) -> bool:
    """Whether the request's key has a scope."""
    return not current_record().scopes.isdisjoint((scope, "admin"))


def view() -> Callable[..., Any] | None:
    """The view that answers the request."""
    return current_app.view_functions.get(request.endpoint or "")


def missing_scope(scope: Scope) -> HTTPException:
    """The error of a request that needs a key: 401 without a valid one, 403 with one that lacks the scope."""
    record, create = current_record(), f"make api-key name=<name> scope={scope} creates one."
    if record.scopes:
        return Forbidden(f"The key {record.facts['key']!r} lacks the scope {scope}; {create}")
    return Unauthorized(
        f"This request needs an API key with the scope {scope}: send the header Authorization: Bearer <key>; {create}",
        www_authenticate=WWWAuthenticate("bearer"),
    )


def expect_within_budget(server: ServerSettings, *, strict: bool, budget_ms: int = 0) -> None:
    """Raise Forbidden for a request that may take longer than the server's budget, from a client without a key.

    Only on an open server. Strict requests wait for the timeouts of the services.
    """
    beyond = budget_ms > server.budget_ms
    if not (strict or beyond) or server.strict_for == "all" or not server.is_open or may("read"):
        return
    if strict:
        raise Forbidden("A strict request needs an API key on an open server, or RECSYS_SERVER__STRICT_FOR=all.")
    if beyond:
        raise Forbidden(
            f"budget_ms above {server.budget_ms} needs an API key on an open server, or RECSYS_SERVER__STRICT_FOR=all."
        )


class UnguardedError(RecsysError):
    """The settings require keys or rates, and the extra that checks them is not enabled."""


def expect_keys_are_checked(settings: Settings, extras: Collection[str]) -> None:
    """Raise UnguardedError where the settings require keys or rates, and `extras.keys` is not among ``extras``."""
    server, problem = settings.server, ""
    if server.keys_for == "all" or server.rate:
        problem = "RECSYS_SERVER__KEYS_FOR=all and RECSYS_SERVER__RATE need"
    elif settings.keys_file.exists():
        problem = f"The file of keys, {settings.keys_file}, needs"
    elif server.reads_need_key:
        problem = "A server open to other machines, where RECSYS_SERVER__KEYS_FOR=writes does not open reading, needs"
    if problem and "keys" not in extras:
        raise UnguardedError(f"{problem} the extra keys, which is not enabled: name it in RECSYS_SERVER__EXTRAS.")


# --- what it may contain

_BODY = "body"
_SHOWN = 40  # characters of a user's field name that are echoed
_DEEPEST = 3  # names and indices of an error's place
EXPECTED: Final = {
    "userid": f"a whole number from 1 to {MAX_INTEGER}, or a string of 1 to {MAX_BYTES} bytes",
    "size": f"a whole number from 1 to {MAX_SIZE}",
    "timestamp": f"a whole number of seconds since 1970-01-01 UTC, from 0 to {MAX_TIMESTAMP}",
    "explain": 'true, false or "recall"',
    "budget_ms": f"a whole number of milliseconds from {MIN_BUDGET_MS} to {MAX_BUDGET_MS}",
    "strict": "true or false",
    "release": "a release's id, twelve characters of 0-9 and a-f",
}


def parse(body: bytes, model: type[Request], expected: Mapping[str, str]) -> Request:
    """Read a request. Raises BadRequestError. The Content-Type is ignored, so that a plain `curl -d` works."""
    return validated(body, model.model_validate_json, expected, 'for example {"userid": 1, "size": 50}')


def validated(
    body: bytes, validate: Callable[[bytes], Parsed], expected: Mapping[str, str], example: str,
    shape: str = "a JSON object",
) -> Parsed:  # fmt: skip
    """Parse a body by ``validate``. Raises BadRequestError.

    ``expected``: what each field must be; ``example``: of a body, and ``shape``: what it must be as a whole.
    """
    if not body.strip():
        raise BadRequestError(_BODY, f"The body is empty; expected {shape}, {example}.")
    try:
        return validate(body)
    except ValidationError as error:
        raise _explained(error, expected, example, shape) from error


def _explained(error: ValidationError, expected: Mapping[str, str], example: str, shape: str) -> BadRequestError:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    kind, path, message = first["type"], first["loc"], first["msg"]
    if kind == "json_invalid":
        return BadRequestError(_BODY, f"The body is not JSON ({message}); expected {shape}, {example}.")
    where = f"[{path[0]}]." if path and isinstance(path[0], int) else ""  # of a list
    path = path[1:] if where else path
    if not path:
        whole = f"The body is not as expected: {shape}, {example}"
        said = message.removeprefix("Value error, ") if kind == "value_error" else whole
        return BadRequestError(where[:-1] or _BODY, f"{said}.")
    name = str(path[0])
    field = where + name
    if name not in expected:
        shown = field if len(name) <= _SHOWN else field[: len(where) + _SHOWN] + "..."
        return BadRequestError(shown, f"{shown!r} is not a field of this request; there are: {', '.join(expected)}.")
    if kind == "missing" and len(path) == 1:
        return BadRequestError(field, f"{field} is missing; expected {expected[name]}.")
    inner = field + _place(path[1:])
    if inner != field or kind in ("too_long", "too_short"):  # which element is wrong, or how many there are
        return BadRequestError(inner, f"{inner}: {message}; {field} must be {expected[name]}.")
    return BadRequestError(field, f"{field} must be {expected[name]}.")


# names that pydantic adds to the place of an error for a member of a union
_UNION_MEMBER: Final = re.compile(r"int|float|str|bool|[A-Z]\w*|.*[\[(].*|constrained-\w+")


def _place(path: Sequence[int | str]) -> str:
    """The place of an error within a field, such as ``[0].value``: indices and names, without types."""
    named = [part for part in path if isinstance(part, int) or not _UNION_MEMBER.fullmatch(part)]
    shown = [f"[{part}]" if isinstance(part, int) else f".{part[:_SHOWN]}" for part in named]
    return "".join(shown[:_DEEPEST])


# --- every error in one JSON shape: {"error": {"code", "message", ...}}

_KEPT = ("allow", "www-authenticate")  # headers: which methods there are; that a key is needed


def error_response(status: int, code: str, message: str, **more: Any) -> Response:
    """The response of an error. ``more``: ``field`` or ``service``."""
    record = current_record()
    record.outcome = code
    record.facts |= more
    return Response(error_body(code, message, **more), status, mimetype="application/json")


def register_errors(app: Flask) -> None:
    """Turn exceptions of the recommender and Flask into JSON errors; any other is a 500 without details."""

    @app.errorhandler(Exception)
    def failed(error: Exception) -> Response:
        match error:
            case BadRequestError():
                return error_response(400, "bad_request", str(error), field=error.field)
            case UnknownReleaseError():
                return error_response(404, "unknown_release", str(error), field="release")
            case ServiceError():
                said = f"{error.service} {error.what}."
                return error_response(503, "service_unavailable", said, service=error.service)
            case LoadingError():
                response = error_response(503, "release_opening", str(error))
                response.headers["Retry-After"] = "1"
                return response
            case NoReleaseError():
                return error_response(503, "no_release", str(error))
            case RequestEntityTooLarge():
                return error_response(413, "body_too_large", BODY_TOO_LARGE, field=_BODY)
            case SecurityError():
                said = "The request's Host is not a name of this server; RECSYS_SERVER__ALLOWED_HOSTS lists its names."
                return error_response(400, "unknown_host", said)
            case ClientDisconnected() | HTTPException(code=400):
                return error_response(400, "bad_request", "The body could not be read to its end.", field=_BODY)
            case HTTPException():
                code = error.name.lower().replace(" ", "_")
                response = error_response(error.code or 500, code, error.description or "")
                headers = error.get_headers(request.environ)
                response.headers.extend((name, value) for name, value in headers if name.lower() in _KEPT)
                return response
        log.error("unexpected error in request %s", current_record().id, exc_info=error)
        return error_response(500, "internal_error", "Internal error; see the log for this request id.")


# --- the log


def log_request(record: Record) -> None:
    """Log a request as one line, its facts as fields. Without the query string: a key may have been put there."""
    facts = {
        "method": request.method,
        "path": request.path[:_PATH],
        "status": record.status,
        "ms": round(record.seconds * 1e3, 1),
        **({"outcome": record.outcome} if record.outcome else {}),
        **record.facts,
        **{f"{name}_ms": round(stage.seconds * 1e3, 1) for name, stage in record.watch.stages.items()},
    }
    access.info("request", extra={"facts": facts})


class JsonLines(logging.Formatter):
    """time (UTC), level, logger, message; the id of the request it was said in; ``facts`` as fields of their own."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if has_request_context() and "record" in g:
            line["id"] = current_record().id
        line |= getattr(record, "facts", {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def log_as_json() -> None:
    """Log everything in this process as JSON lines from now on."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
