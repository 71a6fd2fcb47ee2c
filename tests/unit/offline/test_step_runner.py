import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Barrier
from types import SimpleNamespace

import pytest

from data_exchange_center import artifacts, plugins, provenance
from data_exchange_center.recipes import RECIPES
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from offline import step_runner


def test_a_step_runs_in_its_own_folder_and_is_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Another script in the step's place runs under the step's name."""
    (tmp_path / "twins").mkdir()
    (tmp_path / "twins" / "t0.py").write_text(
        "import sys; open('here', 'w').close(); x = bytearray(200_000_000)\n"
        "print('half of it', file=sys.stderr); print('12 rows')"
    )
    monkeypatch.setattr(step_runner, "ROOT", tmp_path)
    found = step_runner.run_step("offline/s0.py", {}, "twins/t0.py")
    said = capfd.readouterr()
    assert said.err == "t0 | half of it\n"
    assert re.fullmatch(
        r"\n=== offline/s0\.py\n12 rows\n--- offline/s0\.py: \d+ s\n", said.out
    )
    assert (tmp_path / "twins" / "here").is_file()
    assert found["peak_rss_mb"] > 190
    assert found["step"] == "offline/s0.py"


def test_a_step_that_fails_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(step_runner, "ROOT", tmp_path)
    for script, said in (
        ("raise SystemExit(3)", "s1.py failed with exit code 3; last line above: none"),
        (
            "raise SystemExit('begin\\nthe disk is full')",
            "last line above: the disk is full",
        ),
    ):
        (tmp_path / "s1.py").write_text(script)
        with pytest.raises(StepError, match=re.escape(said)):
            step_runner.run_step("s1.py", {})


@dataclass
class Runs:
    """What each step would have been run with, in the order in which they began."""

    settings: Settings
    begun: dict[str, tuple[dict[str, str], str | None]] = field(default_factory=dict)
    at: Callable[[str], object] = lambda step: None  # what happens in a step

    def run_step(
        self, step: str, environment: dict[str, str], script: str | None
    ) -> dict[str, str]:
        self.begun[step] = environment, script
        self.at(step)
        return {"step": step}

    def __call__(self, folder: Path | None = None, **changes: object) -> list[str]:
        settings = self.settings.model_copy(update=changes)
        ended = step_runner.run_steps(settings, folder or settings.exchange_dir)
        return [each["step"] for each in ended]


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Runs:
    found = Runs(Settings(exchange_dir=tmp_path, data=None))
    monkeypatch.setattr(step_runner, "run_step", found.run_step)
    artifacts.DATASET.write(tmp_path, {"name": "other"})
    return found


def test_steps_run_with_the_recipe_and_the_data_of_the_settings(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, runs: Runs
) -> None:
    monkeypatch.setenv("RECSYS_RECIPE", "default")
    ended = runs(tmp_path / "there", recipe_name="source")
    assert len(ended) == len(provenance.STEPS) == len(runs.begun)
    expected = {
        "RECSYS_RECIPE": "source",
        "RECSYS_EXCHANGE_DIR": str(tmp_path / "there"),
        "RECSYS_DATA": str(tmp_path / "offline" / "raw"),
    }
    assert all(
        {name: each[name] for name in expected} == expected
        for each, _ in runs.begun.values()
    )
    assert ended.index(provenance.SPLIT.path) == 1
    assert ended[-1] in (
        provenance.RANKER.path,
        provenance.TERM_RECALL.path,
    )  # both wait for all that they read


def test_steps_that_read_nothing_of_one_another_run_at_once(
    monkeypatch: pytest.MonkeyPatch, runs: Runs
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    together = Barrier(2, timeout=60)  # seconds; broken when the two do not meet
    pair = (provenance.VECTOR_RECALL.path, provenance.FEATURES.path)
    runs.at = lambda step: together.wait() if step in pair else None
    assert len(runs()) == len(provenance.STEPS)


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_failed_step_keeps_those_behind_it_from_running(
    runs: Runs, recipe: str
) -> None:
    def fail(step: str) -> None:
        if step == provenance.SPLIT.path:
            raise StepError("no")

    runs.at = fail
    with pytest.raises(StepError, match="no"):
        runs(recipe_name=recipe)
    assert [*runs.begun] == [provenance.GET_DATA.path, provenance.SPLIT.path]


def test_an_engine_puts_scripts_in_the_place_of_steps(
    monkeypatch: pytest.MonkeyPatch, runs: Runs
) -> None:
    """Those that it has; the step itself is not started."""
    twins = {provenance.TERMS.path: "elsewhere/s2.py"}
    monkeypatch.setattr(
        plugins, "engine", lambda name: {"large": SimpleNamespace(TWINS=twins)}[name]
    )
    assert len(runs(engine="large")) == len(provenance.STEPS)
    assert {step: script for step, (_, script) in runs.begun.items() if script} == twins
