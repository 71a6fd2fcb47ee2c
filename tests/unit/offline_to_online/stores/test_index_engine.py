"""The step itself writes the items' documents, or a plugin that the settings name."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock

import pytest

from data_exchange_center.plugins import PluginError
from data_exchange_center.settings import Settings
from offline_to_online.stores import index_engine


def test_the_step_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Any] = []
    monkeypatch.setattr(index_engine, "put_documents", lambda *args: written.append(args))
    client, rows = Mock(), [Mock()]
    index_engine.chosen(Settings())(client, "abc", rows)
    assert written == [(client, "abc", rows)]


def test_an_engine_that_is_not_there_is_refused() -> None:
    with pytest.raises(PluginError, match="No 'nothing' among the plugins"):
        index_engine.chosen(Settings(engine="nothing"))
