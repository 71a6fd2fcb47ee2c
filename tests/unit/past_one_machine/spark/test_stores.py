"""Elasticsearch and Feast loaded by jobs in Spark's environment, as RECSYS_ENGINE=spark says."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import yaml

from data_exchange_center.settings import Settings, SparkSettings
from data_exchange_center.steps import StepError
from offline_to_online.stores import elasticsearch, feast
from online.stack.feast.service import feature_repo
from past_one_machine.spark import environment
from past_one_machine.spark.stores import FEAST


def test_a_job_writes_documents(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs: list[Any] = []
    monkeypatch.setattr(environment, "run_job", lambda *args: jobs.append(args))
    settings = Settings(engine="spark")
    elasticsearch.writer_of(settings)(Mock(), "abc", [Mock(), Mock()])
    failed = "Spark did not load the 2 items into Elasticsearch"
    assert jobs == [(settings, "past_one_machine.spark.stores", ["index", "abc"], failed)]


def test_feast_has_its_spark_store_and_engine_in_sparks_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = FEAST._replace(python=lambda _: tmp_path / "python")
    monkeypatch.setattr("past_one_machine.spark.stores.FEAST", kind)
    settings = Settings(exchange_dir=tmp_path, engine="spark", spark=SparkSettings(master="local[3]", partitions=5))
    started: list[Any] = []

    def run(command: list[str], *, cwd: Path, env: dict[str, str], **_: object) -> subprocess.CompletedProcess[str]:
        ((_, name, arguments),) = json.loads(command[-1])
        assert arguments == "apply"
        (cwd / "data" / "registry.next.db").touch()
        started.extend([command[:-1], env, yaml.safe_load((cwd / name).read_text())])
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    feast.run_feast(settings, ["apply"])
    command, variables, config = started
    assert command == [str(tmp_path / "python"), "-m", "past_one_machine.spark.stores"]
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
