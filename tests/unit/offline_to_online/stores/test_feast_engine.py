"""What Feast's commands are run with, as RECSYS_ENGINE says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from data_exchange_center.settings import Settings, SparkSettings
from data_exchange_center.steps import StepError
from offline.engines.spark import environment
from offline_to_online.stores import feast, feast_engine
from online.stack.feast.service import feature_repo


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


def test_every_engine_of_the_settings_is_there() -> None:
    assert set(feast_engine.KINDS) == set(get_args(Settings.model_fields["engine"].annotation))


def test_pandas_is_the_file_store_in_this_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command, variables, config = process(Settings(exchange_dir=tmp_path), monkeypatch)
    assert command == [sys.executable, "-m", "offline_to_online.stores.feast_job"]
    assert variables["FEAST_OFFLINE_STORE"] == "file"
    assert config["offline_store"] == {"type": "file"}
    assert "batch_engine" not in config


def test_spark_is_feasts_spark_store_and_engine_in_sparks_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "python", lambda _: tmp_path / "python")
    settings = Settings(exchange_dir=tmp_path, engine="spark", spark=SparkSettings(master="local[3]", partitions=5))
    command, variables, config = process(settings, monkeypatch)
    assert command == [str(tmp_path / "python"), "-m", "offline_to_online.stores.feast_job_on_spark"]
    assert variables["FEAST_OFFLINE_STORE"] == "spark"
    assert (variables["RECSYS_SPARK__MASTER"], variables["RECSYS_SPARK__PARTITIONS"]) == ("local[3]", "5")
    assert (config["offline_store"], config["batch_engine"]) == ({"type": "spark"}, {"type": "spark.engine"})
    assert config["online_store"]["type"] == "redis"
    served = yaml.safe_load((feature_repo(settings) / "feature_store.yaml").read_text())
    assert served["offline_store"] == {"type": "file"}, "the feature server has no Spark"


def test_without_sparks_environment_the_step_says_how_to_get_it(tmp_path: Path) -> None:
    settings = Settings(exchange_dir=tmp_path, services_dir=tmp_path / "services", engine="spark")
    with pytest.raises(StepError, match="run `make spark`"):
        feast.run_feast(settings, ["apply"])
