from __future__ import annotations

from pathlib import Path

import pytest

from data_exchange_center.settings import Settings
from extras.models.__main__ import export_events
from offline.preprocess import s0_get_data, s1_data_split
from tests.made_up_data import shop


@pytest.fixture(scope="package")
def data(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A data set with string ids, split; what it may train on is exported to ``events/``."""
    folder = tmp_path_factory.mktemp("models")
    made = shop(folder / "data", users=60, items=70, views=900)
    settings = Settings(data=made, exchange_dir=folder / "exchange")
    for step in (s0_get_data, s1_data_split):
        step.main(settings)
    export_events(settings, folder / "events")
    return settings


@pytest.fixture
def settings(
    data: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    """The same data set, in an exchange folder without models."""
    exchange = tmp_path / "exchange"
    monkeypatch.setenv("RECSYS_EXCHANGE_DIR", str(exchange))
    exchange.mkdir()
    settings = data.model_copy(update={"exchange_dir": exchange})
    settings.offline_dir.symlink_to(data.offline_dir)
    settings.trained_dir.symlink_to(data.trained_dir)
    return settings
