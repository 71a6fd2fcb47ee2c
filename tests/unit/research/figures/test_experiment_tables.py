from __future__ import annotations

import importlib
from types import ModuleType

import pytest

from data_exchange_center.machine import machine
from extras.experiments.report import found_by
from offline.evaluation.report import plain
from tests.unit.extras.experiments.test_outcomes import OTHER, RELEASE, experiment
from tests.unit.extras.experiments.test_report import USERS, outcomes, preferences


@pytest.fixture
def tables(pic: None) -> ModuleType:
    return importlib.import_module("research.figures.experiment_tables")


def test_a_row_an_experiment_with_its_interval_and_when_it_could_be_told(tables: ModuleType) -> None:
    experiments = {
        "A/A, split": found_by(experiment(), outcomes(0.0)),
        "A/B, split": found_by(experiment(), outcomes(0.4)),
        "A/B, interleaved": found_by(experiment("interleaved"), preferences(0.2)),
    }
    figure = plain(
        {
            "command": "make experiment-replay",
            "machine": machine(),
            "dataset": "made up",
            "releases": {"source": RELEASE, "default": OTHER},
            "users": USERS,
            "experiments": experiments,
            "redealt": {"experiments": 500, "ever excluding 0": 7},
        }
    )
    shown = tables.experiments(figure, lambda text: text)
    _, _, even, better, preferred = shown.splitlines()[:5]
    assert even.startswith("| A/A, split | source / default | ")
    assert even.endswith("| never |")
    assert better.endswith("|")
    assert "never" not in better
    assert "never" not in preferred
    estimate = experiments["A/B, interleaved"]["preference"]["estimate"]
    assert f"| {USERS:,} | {estimate:+.3f} (" in preferred
    assert "7 of 500 A/A experiments" in shown
    assert all(english in shown or english in tables.CHINESE for english in ("experiment", "arms"))
