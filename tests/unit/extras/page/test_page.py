from __future__ import annotations

import hashlib
import re
from pathlib import Path

from flask.testing import FlaskClient

from data_exchange_center.settings import Settings
from online.main.s1_server import create_app
from tests.unit.extras.conftest import Fakes
from tests.unit.online.world import World

STATIC = Path(__file__).parents[4] / "extras/page/static"
OURS = [
    path
    for path in sorted(STATIC.rglob("*"))
    if path.is_file() and "vendor" not in path.parts
]


def test_the_page_is_served_with_a_strict_policy(http: FlaskClient) -> None:
    for path in ("/", *(f"/page/{file.relative_to(STATIC)}" for file in OURS)):
        response = http.get(path)
        assert response.status_code == 200, path
        assert "default-src 'none'" in response.headers["Content-Security-Policy"]
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Cache-Control"] == "no-cache", (
            "browsers ask whether the file has changed"
        )
    assert http.get("/").mimetype == "text/html"
    for file in STATIC.rglob("*.*js"):
        assert "javascript" in http.get(f"/page/{file.relative_to(STATIC)}").mimetype
    assert http.get("/page/nothing.js").status_code == 404


def test_the_page_needs_no_key(fakes: Fakes) -> None:
    settings = Settings(server={"keys_for": "all", "keys_file": "/nowhere/keys"})
    http = create_app(fakes.recommender, settings, fakes.stores).test_client()
    assert [
        http.get(path).status_code for path in ("/", "/page/style.css", "/ml/releases")
    ] == [200, 200, 401]


def test_vendored_libraries_state_version_licence_and_hash(kind: type[World]) -> None:
    sums = (STATIC / "vendor/SHA256SUMS").read_text()
    for library in (STATIC / "vendor").glob("*.mjs"):
        line = f"{hashlib.sha256(library.read_bytes()).hexdigest()}  {library.name}"
        origin = rf"# {library.stem} \d+\.\d+\.\d+ of npm, \S+.*\n{line}\n"
        assert re.search(origin, sums), library
        assert "sourceMappingURL" not in library.read_text(), library
        assert library.with_suffix(".LICENSE").read_text().strip(), library
