from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from data_exchange_center import artifacts
from data_exchange_center.settings import Settings
from offline.evaluation import served
from research.evaluation import evaluate as module
from research.evaluation.evaluate import evaluate, show, source_artifacts
from tests.synthetic_release import write_inputs
from tests.unit.offline.evaluation.conftest import holdout_of, settings_of

SYSTEMS = {
    "source": [
        "popularity",
        "item-kNN",
        "EASE",
        "source: channel fm",
        "source: recall",
        "source: ranked",
    ],
    "default": [
        "popularity",
        "item-kNN",
        "EASE",
        "source: recall",
        "source: ranked",
        "default: channel tower",
        "default: channel ease",
        "default: recall",
        "default: ranked",
    ],
}


def test_the_report_of_either_recipe(released: Settings, exchange: Path) -> None:
    found = evaluate(released, "make it so", source=settings_of("source", exchange))
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert (
        list(found["table"])
        == list(found["systems"])
        == list(found["slices"])
        == SYSTEMS[released.recipe_name]
    )
    assert (found["recipe"], found["command"]) == (released.recipe_name, "make it so")
    assert set(found["against"]) == {"popularity", "EASE"}
    assert set(found["funnel"]["200"]["channels"]) == {
        channel.name for channel in released.recipe.recall.channels
    }
    assert "live against exact" not in found
    console = Console(record=True, width=200)
    show(found, console)
    assert "recall@200" in console.export_text()


def test_the_source_is_measured_only_on_request(exchange: Path) -> None:
    found = evaluate(settings_of("default", exchange), "")
    assert not [system for system in found["systems"] if system.startswith("source")]


def test_live_against_exact_is_a_number(exchange: Path) -> None:
    settings = settings_of("default", exchange)
    exact = served.answers(settings, holdout_of(settings))

    def with_ranked(change: Callable[[np.ndarray], np.ndarray]) -> dict[str, Any]:
        live = replace(exact, ranked=change(exact.ranked))
        return evaluate(
            settings,
            "",
            answerer=lambda _: live,
            source=settings_of("source", exchange),
        )["live against exact"]

    same = with_ranked(np.copy)
    assert {name: part["shared"] for name, part in same.items()} == dict.fromkeys(
        same, 1.0
    )
    assert same["ranked"]["users with the same list"] == same["ranked"]["users"] == 24
    assert same["ranked"]["recall@50"] == 0
    worse = with_ranked(
        lambda ranked: np.where(np.arange(ranked.shape[1]) < 50, 0, ranked)
    )
    assert worse["ranked"]["shared"] == pytest.approx(0.75, abs=0.01)
    assert worse["ranked"]["users with the same list"] == 0
    assert worse["ranked"]["recall@200"] < 0
    assert worse["fused"]["shared"] == 1


# The source's artifacts are made once, and again when the data is another


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
        with_data(
            folder,
            artifacts.DATASET.read(settings.exchange_dir)["sha256"]["ratings.dat"],
            "source",
        )
        yield {"step": "all", "seconds": 0.0}

    monkeypatch.setattr(module, "run_steps", run_steps)
    return made


def test_the_steps_run_once_on_the_same_data(
    settings: Settings, runs: list[Settings]
) -> None:
    kept = source_artifacts(settings)
    assert source_artifacts(settings) == kept
    assert [(run.recipe_name, run.exchange_dir, run.data) for run in runs] == [
        ("source", settings.exchange_dir, None)
    ]
    assert kept.recipe_name == "source"
    assert kept.exchange_dir != settings.exchange_dir
    artifacts.RANK_WEIGHTS.read(kept.exchange_dir)


def test_other_data_or_a_broken_run_is_run_again(
    settings: Settings, runs: list[Settings]
) -> None:
    kept = source_artifacts(settings)
    with_data(settings.exchange_dir, "b")
    source_artifacts(settings)
    assert len(runs) == 2
    artifacts.RANK_WEIGHTS.at(kept.exchange_dir).unlink()
    source_artifacts(settings)
    assert len(runs) == 3
