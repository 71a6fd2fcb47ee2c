"""What can be done with experiments, as OpenAPI describes it."""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel

from extras.experiments.answers import ToldExperiment, ToldExperiments
from extras.experiments.declaration import Declaration
from online.web.openapi import KEY, json_of, operation, responses

EXPERIMENT_MODELS: Final[tuple[type[BaseModel], ...]] = (Declaration, ToldExperiment, ToldExperiments)
_EXAMPLE: Final = {
    "name": "ranker",
    "arms": {"control": {"release": "4b39adab7df3"}, "treatment": {"release": "9c1f0e2a7b55"}},
}
_NAME: Final = {"name": "name", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}

EXPERIMENTS: Final[dict[str, Any]] = {
    "/ml/experiments": {
        "get": operation(
            "experiments",
            "The experiments that run, and those that did",
            responses(ToldExperiments, 401, 429, 500, 503),
            security=KEY,
        ),
        "post": operation(
            "start_experiment",
            "Start an experiment: from now on users are dealt to its arms' releases",
            responses(ToldExperiment, 400, 401, 408, 411, 429, 500, 503),
            security=[{"key": []}],
            requestBody={"required": True, "content": json_of(Declaration, example=_EXAMPLE)},
        ),
    },
    "/ml/experiments/{name}/stop": {
        "post": operation(
            "stop_experiment",
            "Stop an experiment: everybody is answered from the live release again",
            responses(ToldExperiment, 400, 401, 411, 429, 500, 503),
            parameters=[_NAME],
            security=[{"key": []}],
        )
    },
}
