"""The page for people: files as they are, which need no build and no other server."""

from __future__ import annotations

from typing import Final

from flask import Blueprint, Flask, Response

FILES_PATH: Final = "/page"
# The page's own files, the server it came from, and nothing else.
_POLICY: Final = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def register_page(app: Flask) -> None:
    """`/`, and its files below `/page/`."""
    page = Blueprint("page", __name__, static_folder="static", static_url_path=FILES_PATH)

    @page.get("/")
    def index() -> Response:
        return page.send_static_file("index.html")

    @page.after_request
    def guarded(response: Response) -> Response:
        response.headers["Content-Security-Policy"] = _POLICY
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response

    app.register_blueprint(page)
