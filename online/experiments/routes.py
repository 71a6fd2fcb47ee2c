"""The routes by which experiments are looked up, started and stopped."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final, Protocol

from flask import Flask, Response, jsonify, request

from online.clients.redis import RedisUsers
from online.experiments.changes import Kept, started, stopped
from online.experiments.declaration import DAY_S, MAX_ARMS, Declaration, Experiments, named, told
from online.experiments.exposures import Exposure
from online.experiments.store import Change
from online.web.body import validated

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


def register_experiments(app: Flask, store: Store, users: RedisUsers) -> None:
    """`GET` and `POST /ml/experiments`, `POST /ml/experiments/<name>/stop`."""

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
