"""Is the server alive, and could it answer now?"""

from __future__ import annotations

from typing import Any

from flask import Flask, Response, jsonify

from online.clients.base import Pong, ServiceError
from online.recommend.recommender import Readiness, Recommender


def register_health(app: Flask, recommender: Recommender) -> None:
    """`/healthz`: this process runs. `/readyz`: 200 when all services and a release are there, else 503."""

    @app.get("/healthz")
    def healthz() -> Response:
        return jsonify({"alive": True})

    @app.get("/readyz")
    def readyz() -> Response:
        readiness = recommender.readiness()
        response = jsonify(_as_json(readiness, recommender.outcomes))
        response.status_code = 200 if readiness.ready else 503
        return response


def _as_json(readiness: Readiness, outcomes: dict[str, int]) -> dict[str, Any]:
    services = {name: _service(pong) for name, pong in readiness.services.items()}
    problem = {"message": readiness.release_problem} if readiness.release_problem else {}
    return {
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
