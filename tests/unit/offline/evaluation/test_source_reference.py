"""The source's artifacts are made once, and again when the data is another."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from data_exchange_center import artifacts
from data_exchange_center.settings import Settings
from offline.evaluation import evaluate
from offline.evaluation.evaluate import source_artifacts
from tests.synthetic_release import write_inputs
from tests.unit.offline.evaluation.conftest import settings_of


@pytest.fixture
def settings(exchange: Path, tmp_path: Path) -> Settings:
    folder = tmp_path / "exchange"
    shutil.copytree(exchange / "default", folder)
    with_data(folder, "a")
    return settings_of("default", exchange).model_copy(update={"exchange_dir": folder})


def with_data(folder: Path, digest: str, recipe: str = "default") -> None:
    content = artifacts.DATASET.read(folder)
    artifacts.DATASET.write(folder, {**content, "sha256": {"ratings.dat": digest}})
    write_inputs(folder, recipe)


@pytest.fixture
def runs(exchange: Path, monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """Settings of every run of the steps, which copy a made-up release of the source here."""
    made: list[Settings] = []

    def run_steps(settings: Settings, folder: Path) -> Iterator[dict[str, Any]]:
        made.append(settings)
        shutil.copytree(exchange / "source", folder, dirs_exist_ok=True)
        with_data(folder, artifacts.DATASET.read(settings.exchange_dir)["sha256"]["ratings.dat"], "source")
        yield {"step": "all", "seconds": 0.0}

    monkeypatch.setattr(evaluate, "run_steps", run_steps)
    return made


def test_the_steps_run_once_on_the_same_data(settings: Settings, runs: list[Settings]) -> None:
    kept = source_artifacts(settings)
    assert source_artifacts(settings) == kept
    assert [(run.recipe_name, run.exchange_dir, run.data) for run in runs] == [("source", settings.exchange_dir, None)]
    assert kept.recipe_name == "source"
    assert kept.exchange_dir != settings.exchange_dir
    artifacts.RANK_WEIGHTS.read(kept.exchange_dir)


def test_other_data_or_a_broken_run_is_run_again(settings: Settings, runs: list[Settings]) -> None:
    kept = source_artifacts(settings)
    with_data(settings.exchange_dir, "b")
    source_artifacts(settings)
    assert len(runs) == 2
    artifacts.RANK_WEIGHTS.at(kept.exchange_dir).unlink()
    source_artifacts(settings)
    assert len(runs) == 3
