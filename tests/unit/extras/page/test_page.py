from __future__ import annotations

from pathlib import Path

import pytest
from flask.testing import FlaskClient

from data_exchange_center.settings import Settings
from online.main.s1_server import create_app
from tests.unit.extras.conftest import Fakes
from tests.unit.online.world import DefaultWorld

STATIC = Path(__file__).parents[4] / "extras/page/static"
OURS = [path for path in sorted(STATIC.rglob("*")) if path.is_file() and "vendor" not in path.parts]

pytestmark = pytest.mark.parametrize("kind", [DefaultWorld], indirect=True)


def test_the_page_and_its_files_are_served_and_may_reach_nobody_else(http: FlaskClient) -> None:
    for path in ("/", *(f"/page/{file.relative_to(STATIC)}" for file in OURS)):
        response = http.get(path)
        assert response.status_code == 200, path
        assert "default-src 'none'" in response.headers["Content-Security-Policy"]
    assert http.get("/").mimetype == "text/html"
    for file in STATIC.rglob("*.*js"):
        assert "javascript" in http.get(f"/page/{file.relative_to(STATIC)}").mimetype
    assert http.get("/page/nothing.js").status_code == 404


def test_whoever_needs_a_key_gets_the_page_without(fakes: Fakes) -> None:
    settings = Settings(server={"keys_for": "all", "keys_file": "/nowhere/keys"})
    http = create_app(fakes.recommender, settings, fakes.stores).test_client()
    assert [http.get(path).status_code for path in ("/", "/page/style.css", "/ml/releases")] == [200, 200, 401]
