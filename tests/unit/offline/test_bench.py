from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from data_exchange_center import artifacts
from data_exchange_center.settings import Settings
from offline import bench


def test_a_step_is_measured_in_its_own_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "offline").mkdir()
    (tmp_path / "offline" / "s0.py").write_text("open('here', 'w').close(); x = bytearray(200_000_000)")
    monkeypatch.setattr(bench, "ROOT", tmp_path)
    found = bench.measure("offline/s0.py", {})
    assert (tmp_path / "offline" / "here").is_file()
    assert found["peak_rss_mb"] > 190
    assert found["seconds"] >= 0


def test_a_step_that_fails_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "s1.py").write_text("raise SystemExit(3)")
    monkeypatch.setattr(bench, "ROOT", tmp_path)
    with pytest.raises(SystemExit, match=r"s1\.py failed with exit code 3"):
        bench.measure("s1.py", {})


def test_steps_run_with_the_recipe_and_the_data_of_the_settings(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given: list[dict[str, str]] = []
    monkeypatch.setattr(bench, "measure", lambda step, environment: given.append(environment) or {"step": step})
    monkeypatch.setenv("RECSYS_RECIPE", "default")
    settings = Settings(recipe_name="source", exchange_dir=tmp_path / "here", data=None)
    artifacts.DATASET.write(settings.exchange_dir, {"name": "other"})
    assert len(list(bench.run_all(settings, tmp_path / "there"))) == len(bench.STEPS) == len(given)
    expected = {
        "RECSYS_RECIPE": "source",
        "RECSYS_EXCHANGE_DIR": str(tmp_path / "there"),
        "RECSYS_DATA": str(tmp_path / "here" / "offline" / "raw"),
    }
    assert all({name: each[name] for name in expected} == expected for each in given)


def test_every_step_there_is_is_measured() -> None:
    folders = ("preprocess", "recall", "rank")
    steps = {
        f"offline/{folder}/{path.name}"
        for folder in folders
        for path in (bench.ROOT / "offline" / folder).glob("s*.py")
    }
    assert steps == {step for step, _ in bench.STEPS}


def test_the_table_has_every_step_and_the_total() -> None:
    step = {"step": "offline/a.py", "seconds": 1.5, "cpu_seconds": 1.2, "peak_rss_mb": 300, "source_seconds": None}
    found = {
        "dataset": "ml-1m",
        "machine": {"cores": 2},
        "steps": [step],
        "seconds": 1.5,
        "source_seconds": 0,
        "peak_rss_mb": 300,
        "auc": {"fm": {"train": 0.9, "test": None}},
    }
    console = Console(record=True, width=120)
    bench.show(found, console)
    shown = console.export_text()
    assert "offline/a.py" in shown
    assert "fm AUC: train 0.9000, test -" in shown
