"""Offline steps on the layouts of MovieLens's newer editions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from research.measure import layouts


def test_measured_editions_are_not_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    row = {"ratings": 1, "users": 1, "items": 1, "archive_mb": 1, "seconds": 1, "cpu_seconds": 1, "peak_mb": 1}
    monkeypatch.setattr(layouts, "FIGURES", tmp_path)
    monkeypatch.setattr(layouts, "measured", lambda source, edition: done.append(edition) or row)
    settings = Settings(data=tmp_path / "ml-1m.zip", exchange_dir=tmp_path)

    def found() -> dict[str, Any]:
        report: dict[str, Any] = json.loads((tmp_path / "layouts.json").read_text(encoding="utf-8"))
        return report

    layouts.main(settings, editions=["ml-25m"])
    assert found()["measured"]["finished"] is False
    layouts.main(settings)
    assert sorted(done) == sorted(layouts.EDITIONS)
    assert "finished" not in found()["measured"]


def test_data_is_named(tmp_path: Path) -> None:
    with pytest.raises(StepError, match="RECSYS_DATA"):
        layouts.main(Settings(data=None, exchange_dir=tmp_path))
