from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

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
from online.stack.service import StackError
from online.web.asgi import refused
from tests.free_ports import settings_on_free_ports
from tests.needs import program
from tests.readmes import ROOT

HERE = Path(__file__).parent
DASHBOARD = monitoring.HERE / "grafana" / "dashboard.json"


@pytest.fixture
def promtool() -> str:
    return program("prometheus", "promtool")


def dashboard() -> dict[str, Any]:
    return json.loads(DASHBOARD.read_text(encoding="utf-8"))


def expressions() -> list[str]:
    rules = yaml.safe_load((monitoring.HERE / monitoring.ALERTS).read_text(encoding="utf-8"))["groups"][0]["rules"]
    drawn = [target["expr"] for panel in dashboard()["panels"] for target in panel["targets"]]
    return [rule["expr"] for rule in rules] + drawn


def test_every_alert_fires_when_it_should_and_only_then(promtool: str) -> None:
    done = subprocess.run([promtool, "test", "rules", str(HERE / "alerts_test.yml")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tested_both_ways() -> None:
    rules = yaml.safe_load((monitoring.HERE / monitoring.ALERTS).read_text(encoding="utf-8"))["groups"][0]["rules"]
    cases = yaml.safe_load((HERE / "alerts_test.yml").read_text(encoding="utf-8"))["tests"]
    names = {rule["alert"] for rule in rules}
    fires = {t["alertname"] for case in cases for t in case["alert_rule_test"] if t["exp_alerts"]}
    silent = {t["alertname"] for case in cases for t in case["alert_rule_test"] if not t["exp_alerts"]}
    assert fires == silent == names


def test_what_alerts_and_dashboard_ask_for_is_what_the_server_tells(http: FlaskClient) -> None:
    http.post("/ml/rec", json={"userid": 1})
    page = http.get("/metrics").text
    told = {family.name for family in text_string_to_metric_families(page)}
    told |= {refused._name}
    assert refused in REGISTRY._collector_to_names
    asked = {name for each in expressions() for name in re.findall(r"\brecsys_\w+", each)}
    assert len(asked) > 10
    assert {re.sub(r"_(total|bucket)$", "", name) for name in asked} <= told


@pytest.mark.parametrize("expression", sorted(set(expressions())))
def test_every_expression_is_understood(promtool: str, expression: str, tmp_path: Path) -> None:
    rule = {"record": "a", "expr": expression.replace("$__rate_interval", "5m")}
    path = tmp_path / "rules.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "a", "rules": [rule]}]}))
    done = subprocess.run([promtool, "check", "rules", str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_dashboard_draws_from_the_data_source_that_is_provisioned() -> None:
    sources = yaml.safe_load((DASHBOARD.parent / "datasources.yml").read_text())["datasources"]
    panels = dashboard()["panels"]
    assert {panel["datasource"]["uid"] for panel in panels} == {source["uid"] for source in sources}
    assert len({panel["id"] for panel in panels}) == len({panel["title"] for panel in panels}) == len(panels)
    assert all(panel["description"] for panel in panels)


def test_prometheus_is_told_where_this_machines_server_is(promtool: str, tmp_path: Path) -> None:
    settings = settings_on_free_ports(tmp_path)
    settings = settings.model_copy(update={"server": settings.server.model_copy(update={"key": SecretStr("hush")})})
    config = monitoring.write(settings)
    assert f"127.0.0.1:{settings.server.port}" in config.read_text()
    assert "hush" not in config.read_text()
    key = config.parent / "metrics_key"
    assert (key.read_text(), key.stat().st_mode & 0o777) == ("hush", 0o600)
    done = subprocess.run([promtool, "check", "config", str(config)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.usefixtures("promtool")
def test_prometheus_runs_with_it(tmp_path: Path) -> None:
    settings = settings_on_free_ports(tmp_path)
    settings = settings.model_copy(
        update={"monitoring": settings.monitoring.model_copy(update={"prometheus_port": settings.feast.port})}
    )
    process = subprocess.Popen(
        monitoring.command(settings, monitoring.write(settings)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        for attempt in Retrying(stop=stop_after_delay(30), wait=wait_fixed(0.1), reraise=True):
            with attempt:
                answer = requests.get(f"http://127.0.0.1:{settings.feast.port}/api/v1/rules", timeout=5).json()
        assert len(answer["data"]["groups"][0]["rules"]) == len(
            yaml.safe_load((monitoring.HERE / monitoring.ALERTS).read_text(encoding="utf-8"))["groups"][0]["rules"]
        )
    finally:
        process.terminate()
        process.wait(30)


def test_without_prometheus_it_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StackError, match="apt install prometheus"):
        monitoring.main(Settings(exchange_dir=tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "port"), [("prometheus", 9090), ("grafana", 3000)])
def test_composes_monitoring_is_where_the_settings_say(name: str, port: int) -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    service = compose["services"][name]
    assert service["ports"] == [f"127.0.0.1:${{RECSYS_MONITORING__{name.upper()}_PORT:-{port}}}:{port}"]
    assert getattr(Settings().monitoring, f"{name}_port") == port
    for mount in service["volumes"]:
        source = mount.split(":")[0]
        assert (ROOT / source).is_file() if source.startswith("./") else source in compose["volumes"]
