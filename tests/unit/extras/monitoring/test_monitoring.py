from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
import requests
import yaml
from flask.testing import FlaskClient
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr

from data_exchange_center.settings import ServerSettings, Settings
from extras.monitoring import __main__ as monitoring
from extras.trials.quality import DayRate, Drift, Report
from online.web.connections import refused
from stack.service import StackError
from tests.free_ports import settings_on_free_ports
from tests.needs import program
from tests.prometheus import Prometheus, requests_of, value
from tests.unit.extras.conftest import Fakes
from tests.unit.online.fakes import open_breaker
from tests.unit.online.world import NO_FEATURES_USER, UNKNOWN_USER
from tests.waiting import until

HERE = Path(__file__).parent
RULES = yaml.safe_load(
    (monitoring.HERE / monitoring.ALERTS).read_text(encoding="utf-8")
)["groups"][0]["rules"]
PANELS = json.loads(
    (monitoring.HERE / "grafana/dashboard.json").read_text(encoding="utf-8")
)["panels"]
DRAWN = [target["expr"] for panel in PANELS for target in panel["targets"]]
MADE = yaml.safe_load(
    (monitoring.HERE / monitoring.BURN_RATES).read_text(encoding="utf-8")
)["groups"][0]["rules"]
EXPRESSIONS = sorted({*DRAWN, *(rule["expr"] for rule in (*RULES, *MADE))})


def expect_sound(*arguments: str | Path) -> None:
    """Assert that Prometheus's own tool finds no fault."""
    done = subprocess.run(
        [program("prometheus", "promtool"), *arguments], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_fires_when_it_should_and_only_then() -> None:
    expect_sound(
        "test", "rules", HERE / "alerts_test.yml", HERE / "burn_rates_test.yml"
    )


def measured(fakes: Fakes) -> None:
    """Have `make quality` found something."""
    rates = [DayRate(release=fakes.world.release, day="2026-01-01", lists=10, hits=4)]
    drift = [Drift(feature="age", psi=0.31, values=500)]
    fakes.trials.found = Report(
        release=fakes.world.release, made=1, hit_rates=rates, drift=drift
    )
    fakes.serving.read_report()


def test_alerts_and_dashboard_use_existing_metrics(
    fakes: Fakes, http: FlaskClient
) -> None:
    measured(fakes)
    http.post("/ml/rec", json={"userid": 1})
    page = http.get("/metrics").text
    reported = {family.name for family in text_string_to_metric_families(page)}
    reported |= {refused._name}
    assert refused in REGISTRY._collector_to_names
    requested = {
        name for each in EXPRESSIONS for name in re.findall(r"\brecsys_\w+", each)
    }
    assert len(requested) > 10
    assert {
        re.sub(r"_(total|bucket|count)$", "", name) for name in requested
    } <= reported


def test_prometheus_config_names_the_local_server(tmp_path: Path) -> None:
    settings = settings_on_free_ports(tmp_path)
    settings = settings.model_copy(
        update={"server": settings.server.model_copy(update={"key": SecretStr("hush")})}
    )
    config = monitoring.write(settings)
    assert f"127.0.0.1:{settings.server.port}" in config.read_text()
    assert "hush" not in config.read_text()
    key = config.parent / "metrics_key"
    assert (key.read_text(), key.stat().st_mode & 0o777) == ("hush", 0o600)
    expect_sound("check", "config", config)


def test_prometheus_on_kubernetes_scrapes_each_pod() -> None:
    config = monitoring.HERE / "kubernetes" / monitoring.CONFIG
    expect_sound("check", "config", "--syntax-only", config)


def test_dashboard_and_alerts_run_on_a_real_prometheus(
    url: str, fakes: Fakes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It scrapes a server that answers and fails; then each query has a result, but those of gunicorn's own counter."""

    def request(userid: int = 1, **more: object) -> None:
        requests.post(f"{url}/ml/rec", json={"userid": userid, **more}, timeout=30)

    measured(fakes)
    request()
    with Prometheus(tmp_path, url, monkeypatch) as prometheus:
        assert len(prometheus.get("rules")["groups"][0]["rules"]) == len(RULES)
        until(
            lambda: (
                prometheus.value(
                    'count_over_time(recsys_requests_total{outcome="personal"}[1m]) > 1'
                )
                != []
            )
        )
        for userid in (1, NO_FEATURES_USER, UNKNOWN_USER):
            request(userid)
        requests.get(f"{url}/healthz", timeout=30)
        fakes.scorer.down = True
        request(strict=True)
        until(
            lambda: (
                prometheus.value(
                    'count_over_time(recsys_requests_total{status="503"}[1m]) > 2'
                )
                != []
            )
        )
        until(lambda: prometheus.value("recsys_drift_psi") != [])
        for expression in EXPRESSIONS:
            assert isinstance(
                prometheus.value(expression.replace("$__rate_interval", "1m")), list
            ), expression
        lacking = {
            each
            for each in DRAWN
            if not prometheus.value(each.replace("$__rate_interval", "1m"))
        }
        assert lacking == {each for each in DRAWN if refused._name in each}


def test_without_prometheus_it_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StackError, match="apt install prometheus"):
        monitoring.main(Settings(exchange_dir=tmp_path))
    assert list(tmp_path.iterdir()) == []


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
    http = fakes.client()
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
