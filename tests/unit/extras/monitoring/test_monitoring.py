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

from data_exchange_center.settings import Settings
from extras.monitoring import __main__ as monitoring
from extras.trials.quality import DayRate, Drift, Report
from online.web.connections import refused
from stack.service import StackError
from tests.free_ports import settings_on_free_ports
from tests.needs import program
from tests.prometheus import Prometheus
from tests.unit.extras.conftest import Fakes
from tests.unit.online.world import NO_FEATURES_USER, UNKNOWN_USER, DefaultWorld
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


@pytest.mark.parametrize("kind", [DefaultWorld])
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
