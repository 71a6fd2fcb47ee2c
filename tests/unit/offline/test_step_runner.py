from __future__ import annotations

from pathlib import Path

import pytest

from data_exchange_center import artifacts, provenance
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from offline import step_runner


def test_a_step_runs_in_its_own_folder_and_is_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "offline").mkdir()
    (tmp_path / "offline" / "s0.py").write_text("open('here', 'w').close(); x = bytearray(200_000_000)")
    monkeypatch.setattr(step_runner, "ROOT", tmp_path)
    found = step_runner.run_step("offline/s0.py", {})
    assert (tmp_path / "offline" / "here").is_file()
    assert found["peak_rss_mb"] > 190
    assert found["seconds"] >= 0


def test_a_step_that_fails_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "s1.py").write_text("raise SystemExit(3)")
    monkeypatch.setattr(step_runner, "ROOT", tmp_path)
    with pytest.raises(StepError, match=r"s1\.py failed with exit code 3"):
        step_runner.run_step("s1.py", {})


def test_steps_run_with_the_recipe_and_the_data_of_the_settings(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given: list[dict[str, str]] = []
    monkeypatch.setattr(step_runner, "run_step", lambda step, environment: given.append(environment) or {"step": step})
    monkeypatch.setenv("RECSYS_RECIPE", "default")
    settings = Settings(recipe_name="source", exchange_dir=tmp_path / "here", data=None)
    artifacts.DATASET.write(settings.exchange_dir, {"name": "other"})
    assert len(list(step_runner.run_steps(settings, tmp_path / "there"))) == len(provenance.STEPS) == len(given)
    expected = {
        "RECSYS_RECIPE": "source",
        "RECSYS_EXCHANGE_DIR": str(tmp_path / "there"),
        "RECSYS_DATA": str(tmp_path / "here" / "offline" / "raw"),
    }
    assert all({name: each[name] for name in expected} == expected for each in given)


def test_every_step_in_the_folders_is_run() -> None:
    folders = ("preprocess", "recall", "rank")
    steps = {
        f"offline/{folder}/{path.name}"
        for folder in folders
        for path in (step_runner.ROOT / "offline" / folder).glob("s*.py")
    }
    assert steps == {step.path for step in provenance.STEPS}
