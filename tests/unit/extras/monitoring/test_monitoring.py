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
from tenacity import Retrying, stop_after_delay, wait_fixed

from data_exchange_center.settings import Settings
from extras.monitoring import __main__ as monitoring
from online.web.asgi import refused
from stack.service import StackError
from tests.free_ports import free_ports, settings_on_free_ports
from tests.needs import program

HERE = Path(__file__).parent
RULES = yaml.safe_load((monitoring.HERE / monitoring.ALERTS).read_text(encoding="utf-8"))["groups"][0]["rules"]
PANELS = json.loads((monitoring.HERE / "grafana/dashboard.json").read_text(encoding="utf-8"))["panels"]
EXPRESSIONS = sorted({each["expr"] for each in (*RULES, *(target for panel in PANELS for target in panel["targets"]))})


def expect_sound(*arguments: str | Path) -> None:
    """Assert that Prometheus's own tool finds no fault."""
    done = subprocess.run([program("prometheus", "promtool"), *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_fires_when_it_should_and_only_then() -> None:
    expect_sound("test", "rules", HERE / "alerts_test.yml")


def test_alerts_and_dashboard_use_existing_metrics(http: FlaskClient) -> None:
    http.post("/ml/rec", json={"userid": 1})
    page = http.get("/metrics").text
    reported = {family.name for family in text_string_to_metric_families(page)}
    reported |= {refused._name}
    assert refused in REGISTRY._collector_to_names
    requested = {name for each in EXPRESSIONS for name in re.findall(r"\brecsys_\w+", each)}
    assert len(requested) > 10
    assert {re.sub(r"_(total|bucket)$", "", name) for name in requested} <= reported


def test_every_expression_is_understood(tmp_path: Path) -> None:
    rules = [{"record": f"a{n}", "expr": each.replace("$__rate_interval", "5m")} for n, each in enumerate(EXPRESSIONS)]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "a", "rules": rules}]}))
    expect_sound("check", "rules", tmp_path / "rules.yml")


def test_prometheus_config_names_the_local_server(tmp_path: Path) -> None:
    settings = settings_on_free_ports(tmp_path)
    settings = settings.model_copy(update={"server": settings.server.model_copy(update={"key": SecretStr("hush")})})
    config = monitoring.write(settings)
    assert f"127.0.0.1:{settings.server.port}" in config.read_text()
    assert "hush" not in config.read_text()
    key = config.parent / "metrics_key"
    assert (key.read_text(), key.stat().st_mode & 0o777) == ("hush", 0o600)
    expect_sound("check", "config", config)


def test_prometheus_runs_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program("prometheus")
    (port,) = free_ports(1)
    monkeypatch.setenv("RECSYS_MONITORING__PROMETHEUS_PORT", str(port))
    settings = Settings(exchange_dir=tmp_path)
    process = subprocess.Popen(
        monitoring.command(settings, monitoring.write(settings)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        for attempt in Retrying(stop=stop_after_delay(60), wait=wait_fixed(0.1), reraise=True):
            with attempt:
                answer = requests.get(f"http://127.0.0.1:{port}/api/v1/rules", timeout=30).json()
        assert len(answer["data"]["groups"][0]["rules"]) == len(RULES)
    finally:
        process.terminate()
        process.wait(30)


def test_without_prometheus_it_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StackError, match="apt install prometheus"):
        monitoring.main(Settings(exchange_dir=tmp_path))
    assert list(tmp_path.iterdir()) == []
