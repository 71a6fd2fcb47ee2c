"""Every error of the API in one JSON shape: ``{"error": {"code", "message", ...}}``."""

from __future__ import annotations

import logging
from typing import Any

from flask import Flask, Response, jsonify, request
from werkzeug.exceptions import ClientDisconnected, HTTPException, RequestEntityTooLarge, SecurityError

from online.clients.base import ServiceError
from online.recommend.release import OpeningError
from online.recommend.types import NoReleaseError, UnknownReleaseError, WrongIdError
from online.web import records
from online.web.body import BadRequestError
from online.web.limits import MAX_BODY, body_too_large

log = logging.getLogger(__name__)
_KEPT = ("allow", "www-authenticate")  # which methods there are; that a key is needed


def error_response(status: int, code: str, message: str, **more: Any) -> Response:
    record = records.current()
    record.outcome = code
    record.facts |= more
    response = jsonify({"error": {"code": code, **more, "message": message}})
    response.status_code = status
    return response


def register_errors(app: Flask) -> None:
    """Translate what the recommender and Flask raise. Nothing else reaches the user of the API."""

    @app.errorhandler(BadRequestError)
    @app.errorhandler(WrongIdError)
    def bad_request(error: BadRequestError | WrongIdError) -> Response:
        return error_response(400, "bad_request", str(error), field=error.field)

    @app.errorhandler(UnknownReleaseError)
    def unknown_release(error: UnknownReleaseError) -> Response:
        return error_response(404, "unknown_release", str(error), field="release")

    @app.errorhandler(RequestEntityTooLarge)
    def too_large(_: RequestEntityTooLarge) -> Response:
        return error_response(400, "bad_request", body_too_large(request.max_content_length or MAX_BODY), field="body")

    @app.errorhandler(ServiceError)
    def service_unavailable(error: ServiceError) -> Response:
        message = f"{error.service} {error.what}."
        return error_response(503, "service_unavailable", message, service=error.service)

    @app.errorhandler(NoReleaseError)
    def no_release(error: NoReleaseError) -> Response:
        return error_response(503, "no_release", str(error))

    @app.errorhandler(OpeningError)
    def opening(error: OpeningError) -> Response:
        response = error_response(503, "release_opening", str(error))
        response.headers["Retry-After"] = "1"
        return response

    @app.errorhandler(SecurityError)
    def unknown_host(_: SecurityError) -> Response:
        message = "This server is not the host that the request names; RECSYS_SERVER__ALLOWED_HOSTS names those it is."
        return error_response(400, "unknown_host", message)

    @app.errorhandler(HTTPException)
    def http(error: HTTPException) -> Response:
        if isinstance(error, ClientDisconnected) or error.code == 400:
            return error_response(400, "bad_request", "The body could not be read to its end.", field="body")
        response = error_response(error.code or 500, error.name.lower().replace(" ", "_"), error.description or "")
        headers = error.get_headers(request.environ)
        response.headers.extend((name, value) for name, value in headers if name.lower() in _KEPT)
        return response

    @app.errorhandler(Exception)
    def unexpected(error: Exception) -> Response:
        log.error("unexpected error in request %s", records.current().id, exc_info=error)
        return error_response(500, "internal_error", "Something went wrong; the log has it under this request id.")
