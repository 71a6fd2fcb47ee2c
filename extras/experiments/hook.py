"""The routes by which experiments are looked up, started and stopped."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final, Protocol

from flask import Flask, Response, jsonify, request
from prometheus_client import Counter

from extras.experiments.changes import Kept, started, stopped
from extras.experiments.declaration import DAY_S, MAX_ARMS, Declaration, ExperimentError, Experiments, named, told
from extras.experiments.description import EXPERIMENT_MODELS, EXPERIMENTS
from extras.experiments.experimenting import ExperimentAnswer, Experimenting, ExperimentRequest
from extras.experiments.exposures import Exposure, ExposureQueue
from extras.experiments.store import Change, ExperimentStore
from online.web.guard import error_response, validated
from online.web.parts import Parts

_NAME: Final = "1 to 40 characters of a-z, 0-9, - and _, the first no dash"
_EXPECTED: Final = {
    "name": _NAME,
    "layer": _NAME,
    "kind": 'for all users either "split" or, with two arms without weights, "interleaved"',
    "share": "a number above 0 and at most 1: of the layer's users",
    "arms": f'an object of 2 to {MAX_ARMS} arms, for example {{"control": {{"release": "4b39adab7df3", "weight": 1}}}}',
    "metric": '"hit", "hits" or "gain"',
    "horizon_s": f"a whole number of seconds from 60 to {90 * DAY_S}",
    "planned_users": "a whole number from 100 to 100000000",
}
_EXAMPLE: Final = (
    'for example {"name": "ranker", "arms": {"control": {"release": "4b39adab7df3"}, '
    '"treatment": {"release": "9c1f0e2a7b55"}}}'
)


class Store(Protocol):
    """What keeps experiments."""

    def call(self, query: None, /) -> Experiments: ...

    def update(self, change: Change, /) -> Experiments: ...

    def expose(self, exposures: Sequence[Exposure], /) -> None: ...


def register(app: Flask, parts: Parts) -> None:
    """Answer users from their arms' releases; `/ml/experiments`, `POST /ml/experiments/<name>/stop`."""
    store: Store = parts.stores.get("experiments") or ExperimentStore(parts.settings.redis)
    exposures = Counter(
        "recsys_exposures", "Answers of experiments, by what became of their entries in the log", ["result"],
        registry=parts.metrics.registry,
    )  # fmt: skip
    queue = ExposureQueue(store.expose, lambda result, count: exposures.labels(result).inc(count))
    experimenting = Experimenting(parts.recommender, queue.put)
    parts.extend_request(ExperimentRequest, experiments="true or false")
    parts.extend_answer(ExperimentAnswer)
    parts.recommend, parts.preferred = experimenting.recommend, experimenting.preferred
    parts.describe(EXPERIMENTS, EXPERIMENT_MODELS)
    users = parts.recommender.users

    @app.errorhandler(ExperimentError)
    def wrong_experiment(error: ExperimentError) -> Response:
        return error_response(400, "bad_request", str(error), field=error.field)

    @app.get("/ml/experiments")
    def experiments() -> Response:
        return jsonify({"experiments": [told(each) for each in store.call(None)]})

    @app.post("/ml/experiments")
    def start() -> Response:
        declared = validated(request.get_data(cache=False), Declaration.model_validate_json, _EXPECTED, _EXAMPLE)
        kept = Kept.by(users)
        there = store.update(lambda before: started(before, declared, kept, int(time.time())))
        return jsonify(told(named(there, declared.name)))

    @app.post("/ml/experiments/<name>/stop")
    def stop(name: str) -> Response:
        there = store.update(lambda before: stopped(before, name, int(time.time())))
        return jsonify(told(named(there, name)))
