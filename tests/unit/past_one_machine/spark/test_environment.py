from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from offline import step_runner
from past_one_machine.spark import TWINS, environment


def test_a_twin_runs_in_sparks_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[tuple[object, ...]] = []
    ran: list[Settings] = []
    monkeypatch.setattr(os, "execv", lambda *arguments: started.append(arguments))
    monkeypatch.setattr(sys, "argv", ["s2_term_trans.py"])
    monkeypatch.setattr(environment, "python", lambda _: tmp_path / "python")
    environment.run(ran.append)
    assert started == [
        (tmp_path / "python", [str(tmp_path / "python"), "s2_term_trans.py"])
    ]
    monkeypatch.setattr(environment, "python", lambda _: Path(sys.executable))
    environment.run(ran.append)
    assert len(started) == 1


@pytest.mark.parametrize(
    "step", ["offline/preprocess/s2_term_trans.py", "offline/recall/s1_term_recall.py"]
)
def test_without_sparks_environment_a_twin_says_how_to_get_it(
    tmp_path: Path, step: str
) -> None:
    script = step_runner.ROOT / TWINS[step]
    env = os.environ | {"RECSYS_ENGINE": "spark", "RECSYS_SERVICES_DIR": str(tmp_path)}
    command = [sys.executable, script.name]
    done = subprocess.run(
        command, cwd=script.parent, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "run `make spark`, or compute with RECSYS_ENGINE=pandas" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_environment_of_other_requirements_is_outdated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(services_dir=tmp_path)
    ready = environment.folder(settings) / ".ready"
    ready.parent.mkdir()
    ready.write_text("of another version\n")
    with pytest.raises(StepError, match="or not up to date"):
        environment.python(settings)
    with monkeypatch.context() as patch:
        patch.setattr(environment, "_uv", lambda *_: None)
        environment.install(settings)
        assert environment.python(settings).name == "python"
    monkeypatch.setattr(environment, "PYTHON", (3, 99))  # which is nowhere
    with pytest.raises(
        StepError,
        match=r"`uv venv .* failed; run `make spark` again, where Python 3\.99 is on PATH",
    ):
        environment.install(settings)
