"""A unit that is too coarse makes 1970 of every time: it is refused by the first step."""

from __future__ import annotations

from pathlib import Path

import pytest

from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from offline.preprocess import s0_get_data
from tests.made_up_data import SHOP


def shop_of(folder: Path, unit: str) -> Settings:
    data = folder / "shop"
    data.mkdir()
    (data / "dataset.toml").write_text(SHOP.replace('"iso"', f'"{unit}"'))
    (data / "interactions.csv").write_text("customer,sku,at\nu,a,1704067200\nv,b,1735689600\n")
    return Settings(data=data, exchange_dir=folder / "exchange")


def test_seconds_declared_as_milliseconds_are_refused(tmp_path: Path) -> None:
    message = r"interactions\.csv, column 'at': the newest time is in 1970, .* = \"ms\": is .*\"s\" meant"
    with pytest.raises(StepError, match=message):
        s0_get_data.main(shop_of(tmp_path, "ms"))
    assert not (tmp_path / "exchange").exists()


def test_the_first_step_says_which_times_it_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    s0_get_data.main(shop_of(tmp_path, "s"))
    printed = capsys.readouterr().out
    assert "events from 2024-01-01 to 2025-01-01" in printed
    assert "published figures" not in printed
