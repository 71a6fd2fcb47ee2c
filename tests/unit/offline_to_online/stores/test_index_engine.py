"""An engine writes the items' documents: the step itself, or a job of Spark's that is told which release."""

from __future__ import annotations

from typing import Any, get_args
from unittest.mock import Mock

import pytest
from offline.engines.spark import environment

from data_exchange_center.settings import Settings
from offline_to_online.stores import index_engine


def test_every_engine_has_a_way() -> None:
    assert set(index_engine.KINDS) == set(get_args(Settings.model_fields["engine"].annotation))


def test_pandas_has_the_step_write(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Any] = []
    monkeypatch.setattr(index_engine, "put_documents", lambda *args: written.append(args))
    client, rows = Mock(), [Mock()]
    index_engine.chosen(Settings())(client, "abc", rows)
    assert written == [(client, "abc", rows)]


def test_spark_has_a_job_write(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs: list[Any] = []
    monkeypatch.setattr(environment, "run_job", lambda *args: jobs.append(args))
    settings = Settings(engine="spark")
    index_engine.chosen(settings)(Mock(), "abc", [Mock(), Mock()])
    failed = "Spark did not load the 2 items into Elasticsearch"
    assert jobs == [(settings, "offline_to_online.stores.index_job_on_spark", ["abc"], failed)]
