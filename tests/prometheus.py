"""A Prometheus of the tests' own; single numbers of a page in its text format."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from prometheus_client.parser import text_string_to_metric_families
from tenacity import Retrying, stop_after_delay, wait_fixed

from data_exchange_center.settings import Settings
from extras.monitoring import __main__ as monitoring
from tests.free_ports import free_ports
from tests.needs import program


def fast_rules() -> str:
    """The rules of the shortest pair of windows, in seconds."""
    rules = yaml.safe_load((monitoring.HERE / monitoring.BURN_RATES).read_text())
    (group,) = rules["groups"]
    group["rules"] = [
        each
        for each in group["rules"]
        if each.get("record", "").endswith(("rate1h", "rate5m"))
        or each["labels"].get("window") == "1h"
    ]
    return yaml.safe_dump(rules).replace("1h", "20s").replace("5m", "5s")


class Prometheus:
    """Debian's Prometheus, with the project's configuration for a server at ``url``.

    Args:
        fast: alerts on targets of service look at 20 and 5 seconds in place of an hour and 5 minutes.
    """

    def __init__(
        self,
        folder: Path,
        url: str,
        monkeypatch: pytest.MonkeyPatch,
        *,
        fast: bool = False,
    ) -> None:
        program("prometheus")
        (port,) = free_ports(1)
        monkeypatch.setenv("RECSYS_MONITORING__PROMETHEUS_PORT", str(port))
        settings = Settings(
            exchange_dir=folder, server={"port": int(url.rpartition(":")[2])}
        )
        config = monitoring.write(settings)
        text = config.read_text().replace(
            "scrape_interval: 5s", "scrape_interval: 250ms"
        )
        if fast:
            text = text.replace("evaluation_interval: 15s", "evaluation_interval: 1s")
            (config.parent / monitoring.BURN_RATES).write_text(fast_rules())
        config.write_text(text)
        self._command = monitoring.command(settings, config)
        self._api = f"http://127.0.0.1:{port}/api/v1"

    def __enter__(self) -> Prometheus:
        self._process = subprocess.Popen(
            self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(30)

    def get(self, path: str, **parameters: str) -> Any:
        """An answer's data, once it is there."""
        for attempt in Retrying(
            stop=stop_after_delay(60), wait=wait_fixed(0.1), reraise=True
        ):
            with attempt:
                answer = requests.get(f"{self._api}/{path}", parameters, timeout=30)
                assert answer.status_code != 503, "it is starting"
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    def value(self, expression: str) -> list[Any]:
        found: list[Any] = self.get("query", query=expression)["result"]
        return found


def value(page: str, name: str, **labels: str) -> float:
    samples = (
        each
        for family in text_string_to_metric_families(page)
        for each in family.samples
    )
    return next(
        (
            each.value
            for each in samples
            if (each.name, each.labels) == (f"recsys_{name}", labels)
        ),
        0.0,
    )


def requests_of(
    page: str, status: int, outcome: str, endpoint: str = "/ml/rec"
) -> float:
    return value(
        page, "requests_total", endpoint=endpoint, status=str(status), outcome=outcome
    )
