"""Run Prometheus over this machine's server and Triton without Docker (with Docker: Compose's profile `monitoring`).

Reads   prometheus.yml, alerts.yml and burn_rates.yml of this folder; the program `prometheus`, where it is installed
Writes  data_exchange_center/online/prometheus/: its configuration and a week of metrics
Run     make monitor, or python -m extras.monitoring
Expect  "Prometheus is at http://127.0.0.1:9090", with its log below, until Ctrl-C
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any, Final

import yaml

from data_exchange_center.files import written_in_place
from data_exchange_center.settings import ExtensionSettings, Port, Settings
from data_exchange_center.steps import run
from stack.service import LOOPBACK, StackError

HERE: Final = Path(__file__).parent
CONFIG: Final = "prometheus.yml"
ALERTS: Final = "alerts.yml"
BURN_RATES: Final = "burn_rates.yml"
BUDGET_ALERT: Final = "BudgetBurns"  # there
KEY: Final = "metrics_key"
KEPT: Final = "7d"


class MonitoringSettings(ExtensionSettings, env_prefix="RECSYS_MONITORING__"):
    """Ports of Prometheus, Grafana and Jaeger, on this machine alone."""

    prometheus_port: Port = 9090
    grafana_port: Port = 3000
    jaeger_port: Port = 16686


def write(settings: Settings) -> Path:
    """Write all that Prometheus reads, with this machine's addresses. Returns the configuration's path."""
    config: dict[str, Any] = yaml.safe_load((HERE / CONFIG).read_text(encoding="utf-8"))
    ports = {"recsys": settings.server.port, "triton": settings.triton.metrics_port}
    for job in config["scrape_configs"]:
        job["static_configs"] = [{"targets": [f"{LOOPBACK}:{ports[job['job_name']]}"]}]
    folder = settings.service_dir("prometheus")
    key = settings.server.key
    contents = {
        KEY: (0o600, key.get_secret_value() if key else ""),
        ALERTS: (0o644, (HERE / ALERTS).read_text(encoding="utf-8")),
        BURN_RATES: (0o644, (HERE / BURN_RATES).read_text(encoding="utf-8")),
        CONFIG: (0o644, yaml.safe_dump(config)),
    }
    for name, (mode, text) in contents.items():
        with written_in_place(folder / name, mode) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return folder / CONFIG


def command(settings: Settings, config: Path) -> list[str]:
    return [
        "prometheus",
        f"--config.file={config}",
        f"--storage.tsdb.path={config.parent / 'data'}",
        f"--storage.tsdb.retention.time={KEPT}",
        f"--web.listen-address={LOOPBACK}:{MonitoringSettings.load().prometheus_port}",
    ]


def main(settings: Settings) -> None:
    """Raises StackError where there is no Prometheus on this machine."""
    program = shutil.which("prometheus")
    if program is None:
        raise StackError(
            "Prometheus is not installed on this machine: apt install prometheus (Debian, Ubuntu), or use the "
            "containers: make docker-up monitoring=1."
        )
    config = write(settings)
    print(  # noqa: T201
        f"Prometheus is at http://{LOOPBACK}:{MonitoringSettings.load().prometheus_port}",
        flush=True,
    )
    os.execv(program, command(settings, config))  # noqa: S606


if __name__ == "__main__":
    run(main, about=__doc__)
