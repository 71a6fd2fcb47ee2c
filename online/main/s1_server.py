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
from collections.abc import Mapping
from typing import Any, Final

from flask import Flask, Response, g, request
from werkzeug.middleware.proxy_fix import ProxyFix

from data_exchange_center.settings import Settings, load_settings
from online.clients.base import ServiceError
from online.recommend.recommend import Recommender
from online.web import asgi, errors, guard, openapi
from online.web.parts import Parts, register_extras

log = logging.getLogger(__name__)

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
    """The WSGI application. Needs no service to be up: until they are, answers do without them.

    ``stores``: as `Parts` has it.
    """
    settings = settings or load_settings()
    if recommender is None:
        handler = logging.StreamHandler()
        handler.setFormatter(guard.JsonLines())
        logging.basicConfig(level=logging.INFO, handlers=[handler])
        recommender = Recommender.from_settings(settings)
        try:  # requests are accepted after this
            recommender.releases.follow(only_active=True)
        except ServiceError as error:
            log.warning("nothing to serve yet: %s", error)
        recommender.follow(recommender.releases.follow)
    app = Flask(__name__)
    if settings.server.proxies:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=settings.server.proxies)  # type: ignore[method-assign]
    app.config |= {
        "MAX_CONTENT_LENGTH": asgi.MAX_BODY,
        "PROVIDE_AUTOMATIC_OPTIONS": False,
    }
    # Each request gets a record, is refused or answered, and then logged.
    observers: list[guard.Observer] = [guard.log_request]
    guard.register_records(app, settings.server, observers)
    errors.register_errors(app)
    # The extras add routes, and fields to requests and answers; the API's description is made after them.
    recommender.reset_extensions()  # remove the hooks of an earlier application
    parts = Parts(settings, recommender, stores or {}, observers, recommender.recommend)
    app.extensions["recsys"] = parts
    register_extras(app, parts, EXTRAS)
    recommender.releases.replace_each(
        recommender.extended
    )  # the one that was loaded before them
    guard.guard_writes(app, settings.server)
    document = openapi.description(
        parts.request_model, recommender.answer_model, parts.paths, parts.models
    )
    openapi.register_description(app, document)

    @app.post("/ml/rec")
    @guard.only_reads
    def recommend() -> Response:
        record: guard.Record = g.record
        body, read = (
            request.get_data(cache=False),
            parts.request_model.model_validate_json,
        )
        wanted = guard.validated(body, read, parts.expected)
        guard.expect_within_budget(
            settings.server, strict=wanted.strict, budget_ms=wanted.budget_ms
        )
        record.facts |= {"user": wanted.userid, "size": wanted.size}
        answer = parts.recommend(
            wanted, record.watch
        )  # `Recommender.recommend`, and extensions around it
        record.recommended(answer)
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


def create_asgi() -> asgi.Edge:
    """Create the application behind `Edge`, which gunicorn's `asgi` worker serves; see online/gunicorn_conf.py."""
    settings = load_settings()
    return asgi.Edge(create_app(settings=settings), settings.server)
