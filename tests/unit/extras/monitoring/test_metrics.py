from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from data_exchange_center.settings import ServerSettings
from online.main.s1_server import create_app
from tests.needs import program
from tests.prometheus import requests_of, value
from tests.unit.extras.conftest import Fakes
from tests.unit.online.fakes import open_breaker
from tests.unit.online.world import NO_FEATURES_USER, UNKNOWN_USER


def test_requests_are_counted_by_what_became_of_them(
    http: FlaskClient, fakes: Fakes
) -> None:
    for userid in (1, 8, UNKNOWN_USER, NO_FEATURES_USER, 0):
        http.post("/ml/rec", json={"userid": userid})
    fakes.scorer.down = True
    http.post("/ml/rec", json={"userid": 1, "strict": True})
    for path in ("/nowhere", "/nowhere/else", "/healthz"):
        http.get(path)
    page = http.get("/metrics").text
    assert requests_of(page, 200, "personal") == 2
    assert requests_of(page, 200, "cold_start") == 1
    assert requests_of(page, 200, "degraded") == 1
    assert (
        value(page, "degradations_total", service="feast", reason="no_user_features")
        == 1
    )
    assert requests_of(page, 400, "bad_request") == 1
    assert requests_of(page, 503, "service_unavailable") == 1
    assert requests_of(page, 404, "not_found", "unmatched") == 2
    assert requests_of(page, 200, "", "/healthz") == 1
    assert value(page, "request_seconds_count", endpoint="/ml/rec") == 6
    assert value(page, "stage_seconds_count", stage="redis") == 5  # but for the bad one
    assert value(page, "stage_failures_total", stage="triton") == 1
    assert value(page, "requests_in_flight") == 0


def test_client_errors_are_no_service_failures(http: FlaskClient) -> None:
    assert (
        http.post("/ml/rec", json={"userid": 1, "release": "cccccccccccc"}).status_code
        == 404
    )
    assert http.open("/ml/rec", method="OPTIONS").status_code == 405
    page = http.get("/metrics").text
    assert "recsys_stage_failures_total{" not in page
    assert requests_of(page, 405, "method_not_allowed", "unmatched") == 1


def test_process_metrics_are_exported(http: FlaskClient, fakes: Fakes) -> None:
    http.post("/ml/rec", json={"userid": 1})
    page = http.get("/metrics").text
    recipe = fakes.world.recipe.name
    assert (
        value(page, "release_workers", release=fakes.world.release, recipe=recipe) == 1
    )
    assert value(page, "items_fetched_timestamp_seconds") > 1.7e9
    assert value(page, "threads") == ServerSettings().threads
    open_breaker(fakes.recommender.users.breaker)
    page = http.get("/metrics").text
    breakers = [
        value(page, "breaker_state", service=name) for name in ("redis", "triton")
    ]
    assert breakers == [2, 0]


def test_it_counts_where_numbers_are_shared(
    fakes: Fakes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    http = create_app(fakes.recommender, stores=fakes.stores).test_client()
    http.post("/ml/rec", json={"userid": 1})
    assert requests_of(http.get("/metrics").text, 200, "personal") == 1


def test_no_user_id_is_in_it(http: FlaskClient) -> None:
    http.post(
        "/ml/rec",
        json={"userid": 1471147114},
        headers={"X-Request-ID": "request-1471147114"},
    )
    http.get("/users/1471147114?key=1471147114")
    assert "1471147114" not in http.get("/metrics").text


def test_the_page_is_as_prometheus_wants_it(http: FlaskClient) -> None:
    promtool = program("prometheus", "promtool")
    http.post("/ml/rec", json={"userid": 1})
    page = http.get("/metrics").text
    checked = subprocess.run(
        [promtool, "check", "metrics"], input=page, text=True, capture_output=True
    )
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")
