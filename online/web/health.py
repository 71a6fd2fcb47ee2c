"""Is the server alive, and could it answer now?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Flask, Response, jsonify

from online.clients.base import Pong, ServiceError
from online.recommend.readiness import Readiness
from online.recommend.recommend import Recommender


def register_health(app: Flask, recommender: Recommender) -> None:
    """`/healthz`: this process runs. `/readyz`: 200 when it can answer, else 503; it says how well."""

    @app.get("/healthz")
    def healthz() -> Response:
        return jsonify({"alive": True})

    @app.get("/readyz")
    def readyz() -> Response:
        readiness = recommender.readiness()
        response = jsonify(_as_json(readiness, recommender.outcomes, recommender.status().breakers))
        response.status_code = 503 if readiness.status == "unready" else 200
        return response


def _as_json(readiness: Readiness, outcomes: dict[str, int], breakers: Mapping[str, str]) -> dict[str, Any]:
    services = {name: {**_service(pong), "breaker": breakers[name]} for name, pong in readiness.services.items()}
    problem = {"message": readiness.release_problem} if readiness.release_problem else {}
    return {
        "status": readiness.status,
        "ready": readiness.ready,
        "release": readiness.release,
        "recipe": readiness.recipe,
        **problem,
        "services": services,
        "outcomes": outcomes,  # of the answers of this process
    }


def _service(pong: Pong | ServiceError) -> dict[str, Any]:
    if isinstance(pong, ServiceError):
        return {"ready": False, "message": f"{pong.service} {pong.what}."}
    return {"ready": True, "version": pong.version, "took_ms": round(pong.took_ms, 2)}
