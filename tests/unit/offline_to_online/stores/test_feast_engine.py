"""What Feast's commands are run with, as RECSYS_ENGINE says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from data_exchange_center.settings import Settings
from offline_to_online.stores import feast


def process(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> tuple[list[str], dict[str, str], dict[str, Any]]:
    """What is started for ``feast apply``: its command, its environment and its feature_store.yaml."""
    started: list[tuple[list[str], dict[str, str], dict[str, Any]]] = []

    def run(command: list[str], *, cwd: Path, env: dict[str, str], **_: object) -> subprocess.CompletedProcess[str]:
        ((_, name, feast),) = json.loads(command[-1])
        assert feast == "apply"
        (cwd / "data" / "registry.next.db").touch()
        started.append((command[:-1], env, yaml.safe_load((cwd / name).read_text())))
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    feast.run_feast(settings, ["apply"])
    return started[0]


def test_pandas_is_the_file_store_in_this_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command, variables, config = process(Settings(exchange_dir=tmp_path), monkeypatch)
    assert command == [sys.executable, "-m", "offline_to_online.stores.feast_job"]
    assert variables["FEAST_OFFLINE_STORE"] == "file"
    assert config["offline_store"] == {"type": "file"}
    assert "batch_engine" not in config
