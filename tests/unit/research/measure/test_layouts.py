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
    done: list[layouts.Layout] = []
    numbers = ("ratings", "users", "items", "archive_mb", "seconds", "cpu_seconds", "peak_mb")
    row = {"edition": "ml-25m", **dict.fromkeys(numbers, 1)}
    monkeypatch.setattr(layouts, "FIGURES", tmp_path)
    monkeypatch.setattr(layouts, "measured", lambda source, layout: done.append(layout) or row)
    settings = Settings(data=tmp_path / "ml-1m.zip", exchange_dir=tmp_path)

    def found() -> dict[str, Any]:
        report: dict[str, Any] = json.loads((tmp_path / "layouts.json").read_text(encoding="utf-8"))
        return report

    layouts.main(settings, only=["ml-25m"])
    assert found()["measured"]["finished"] is False
    layouts.main(settings)
    assert len(done) == len(layouts.LAYOUTS)
    assert set(done) == set(layouts.LAYOUTS.values())
    assert "finished" not in found()["measured"]


def test_data_is_named(tmp_path: Path) -> None:
    with pytest.raises(StepError, match="RECSYS_DATA"):
        layouts.main(Settings(data=None, exchange_dir=tmp_path))
