"""The server: recalls, ranks and returns the top N for a user, through Redis, Elasticsearch, Feast and Triton.

POST /ml/rec  {"userid": 1} -> fifty items, best first. Optional: "size" (1 to 200), "timestamp" (seconds: as of then,
              not now), "explain" ("recall": what the channels found), "budget_ms" (20 to 10000: how long the answer may
              take), "strict" (true: an error rather than an answer that lacks a service), "release" (a kept one
              instead of the live one)
GET  /healthz alive; GET /readyz each service, its version, and the release that is served
GET  /docs    the API's description, as a page; /openapi.json

EXTRAS (extras/<name>) bring the page for people at /, further fields of a request ("where", "only", "exclude",
"history", "cursor", "query", "diversity", "stages", "experiments"), feedback (POST /ml/event), items that change
(/ml/item), explanations, experiments, keys and /metrics; each README, and /docs, has its paths.
RECSYS_SERVER__EXTRAS=keys,events,page takes some of it, none takes nothing, and a folder that is not there is left out.

Reads   the live release from the four services (`make sync` puts it there)
Run     flask --app s1_server.py run      (`make serve` runs it under gunicorn)
Expect  curl -d '{"userid": 1}' http://127.0.0.1:5000/ml/rec
        {"userid": 1, "release": "...", "cold_start": false, "item_list": [{"itemid": ..., ...}, ...], ...}

Bad input is 400 and says which field. Without a service that is dead or slow the answer is the best that there is
without it, and says so under "degraded".
"""

import logging
import re
import time
import uuid
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final
from urllib.parse import urlsplit

from flask import Flask, Response, g, has_request_context, request
from pydantic import ValidationError
from pythonjsonlogger.json import JsonFormatter
from werkzeug.exceptions import Forbidden
from werkzeug.middleware.proxy_fix import ProxyFix

from data_exchange_center.settings import (
    ServerSettings,
    Settings,
    is_loopback,
    load_settings,
)
from online.clients.base import ServiceError, Stopwatch
from online.recommend.recommend import Recommender
from online.web import asgi, errors, guard, openapi
from online.web.parts import Parts, register_extras

log = logging.getLogger(__name__)
access = logging.getLogger("online.access")

HEADER: Final = "X-Request-ID"
_GIVEN = re.compile(r"[\w.-]{1,64}", re.ASCII)
UNMATCHED: Final = "unmatched"  # endpoint of a path without a route
_PATH = 100  # characters of a path that are logged
_READS: Final = frozenset({"GET", "HEAD"})
_LOCAL_NAMES: Final = ["localhost", "127.0.0.1"]  # werkzeug matches no IPv6 address
# In the order in which they see a request, and an answer
EXTRAS: Final = (
    "tracing",
    "monitoring",
    "keys",
    "search",
    "questions",
    "diversity",
    "explain",
    "events",
    "gorse",
    "items",
    "trials",
    "faults",
    "page",
    "warm_up",
)


def create_app(
    recommender: Recommender | None = None,
    settings: Settings | None = None,
    stores: Mapping[str, Any] | None = None,
) -> Flask:
    """The WSGI application. It starts without services, and answers once it has loaded a release from them.

    ``stores``: as `Parts` has it.
    """
    settings = settings or load_settings()
    if recommender is None:
        handler = logging.StreamHandler()
        handler.setFormatter(JsonLines())
        logging.basicConfig(level=logging.INFO, handlers=[handler])
        recommender = Recommender.from_settings(settings)
        try:  # requests are accepted after this
            recommender.releases.follow(only_active=True)
        except ServiceError as error:
            log.warning("nothing to serve yet: %s", error)
        recommender.follow(recommender.releases.follow)
        recommender.follow(recommender.releases.refresh_items)
    app = Flask(__name__)
    if settings.server.proxies:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=settings.server.proxies)  # type: ignore[method-assign]
    app.config |= {
        "MAX_CONTENT_LENGTH": asgi.MAX_BODY,
        "PROVIDE_AUTOMATIC_OPTIONS": False,
    }
    # Each request gets a record, is refused or answered, and then logged.
    observers: list[guard.Observer] = [log_request]
    register_records(app, settings.server, observers)
    errors.register_errors(app)
    # The extras add routes, and fields to requests and answers; the API's description is made after them.
    recommender.reset_extensions()  # remove the hooks of an earlier application
    parts = Parts(settings, recommender, stores or {}, observers, recommender.recommend)
    app.extensions["recsys"] = parts
    register_extras(app, parts, EXTRAS)
    # the one that was loaded before them
    recommender.releases.replace_each(recommender.extended)
    guard_writes(app, settings.server)
    document = openapi.description(
        parts.request_model, recommender.answer_model, parts.paths, parts.models
    )
    openapi.register_description(app, document)

    @app.post("/ml/rec")
    @guard.only_reads
    def recommend() -> Response:
        record: guard.Record = g.record
        body = request.get_data(cache=False)
        try:
            wanted = parts.request_model.model_validate_json(body)
        except ValidationError as error:
            raise errors.explained(body, error) from error
        if wanted.strict or wanted.budget_ms:
            guard.expect_within_budget(
                settings.server, strict=wanted.strict, budget_ms=wanted.budget_ms
            )
        # `Recommender.recommend`, or extras/trials/serving.py, which calls it
        record.facts |= {"user": wanted.userid, "size": wanted.size}
        answer = parts.recommend(wanted, record.watch)
        record.answer = answer
        return Response(answer.model_dump_json(), mimetype="application/json")

    @app.get("/healthz")
    def healthz() -> Response:
        return Response(
            openapi.Alive(alive=True).model_dump_json(), mimetype="application/json"
        )

    @app.get("/readyz")
    def readyz() -> Response:
        ready = recommender.readiness()
        status = 503 if ready.status == "unready" else 200
        hidden = None
        if settings.server.reads_need_key and not guard.current_record().may("read"):
            hidden = {"services": {"__all__": {"version"}}}
        return Response(
            ready.model_dump_json(exclude_unset=True, exclude=hidden),
            status,
            mimetype="application/json",
        )

    return app


def register_records(
    app: Flask, server: ServerSettings, observers: Sequence[guard.Observer]
) -> None:
    """Give every request a record and an id, and call the observers with it when it has its response.

    Refuses requests to other host names (400, by Flask), and from other machines unless the settings allow (403).
    """
    local = is_loopback(server.host) and not server.proxies
    names = [name.strip() for name in server.allowed_hosts.split(",")]
    if allowed := [name for name in names if name]:
        app.config["TRUSTED_HOSTS"] = allowed
    elif local:
        app.config["TRUSTED_HOSTS"] = [*_LOCAL_NAMES, server.host]
    loopback = lru_cache(maxsize=1024)(is_loopback)

    @app.before_request
    def begin() -> None:
        given = request.headers.get(HEADER, "")
        view = app.view_functions.get(request.endpoint or "")
        scope: guard.Scope = "read"
        if request.method not in _READS and view is not None:
            scope = getattr(view, "scope", "admin")
        # the wait for a thread counts
        complete = request.environ.get(asgi.COMPLETE_SINCE) or time.perf_counter()
        g.record = guard.Record(
            id=given if _GIVEN.fullmatch(given) else uuid.uuid4().hex[:16],
            endpoint=request.url_rule.rule if request.url_rule else UNMATCHED,
            watch=Stopwatch(complete),
            scope=scope,
        )
        # Flask's own server listens where its command line says, whatever the settings say.
        if local and request.remote_addr and not loopback(request.remote_addr):
            raise Forbidden(
                "This server serves its own machine only; RECSYS_SERVER__HOST=0.0.0.0 opens it to others."
            )

    @app.after_request
    def end(response: Response) -> Response:
        record: guard.Record = g.record
        record.status = response.status_code
        if (answer := record.answer) is not None and not record.outcome:
            record.outcome = "cold_start" if answer.cold_start else "personal"
            record.facts["recommendation"] = answer.recommendation
            record.facts["release"] = answer.release
            if answer.degraded:
                lacks = [(each.service, each.outcome.value) for each in answer.degraded]
                record.outcome, record.degradations = "degraded", tuple(lacks)
                record.facts["degraded"] = tuple(outcome for _, outcome in lacks)
        record.seconds = time.perf_counter() - record.watch.began
        response.headers[HEADER] = record.id
        for name, value in asgi.DEFAULT_HEADERS.items():
            response.headers.setdefault(name, value)
        for observer in observers:
            observer(record)
        return response


def guard_writes(app: Flask, server: ServerSettings) -> None:
    """Refuse writes without a key where they need one, and those that a page of another web site sends.

    Events need one on an open server, anything else that writes needs one everywhere. Register it after the extras:
    `extras.keys` notes the scopes of a request's key first, and may require keys for more.
    """
    is_open = server.is_open

    @app.before_request
    def check() -> None:
        record: guard.Record = g.record
        # Whether a page of another origin sent it: "same-site" is another port or subdomain, which may be anybody's.
        cross_site = False
        if (site := request.headers.get("Sec-Fetch-Site")) is not None:
            cross_site = site not in ("same-origin", "none")
        elif (origin := request.headers.get("Origin")) is not None:
            cross_site = not is_own_origin(origin)
        record.trusted = bool(record.scopes) or not (is_open or cross_site)
        if record.scope == "read" or record.may(record.scope):
            return
        if record.scope == "admin" or is_open or record.scopes:
            raise guard.missing_scope(record.scope)
        if cross_site:
            raise Forbidden("Cross-site writes require an API key.")


def is_own_origin(origin: str) -> bool:
    """Whether an origin that a browser names is this server's."""
    try:
        return urlsplit(origin).netloc == request.host
    except ValueError:  # no origin that a browser sends
        return False


def log_request(record: guard.Record) -> None:
    """Log a request as one line, its facts as fields. Without the query string: a key may have been put there."""
    facts = {
        "message": "request",
        "method": request.method,
        "path": request.path[:_PATH],
        "status": record.status,
        "ms": round(record.seconds * 1e3, 1),
    }
    if record.outcome:
        facts["outcome"] = record.outcome
    facts |= record.facts
    for name, stage in record.watch.stages.items():
        facts[f"{name}_ms"] = round(stage.seconds * 1e3, 1)
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


def create_asgi() -> asgi.Edge:
    """Create the application behind `Edge`, which gunicorn's `asgi` worker serves; see online/gunicorn_conf.py."""
    settings = load_settings()
    return asgi.Edge(create_app(settings=settings), settings.server)
