from __future__ import annotations

import os
from pathlib import Path

import pytest

from data_exchange_center.steps import StepError
from past_one_machine.scaling import processes
from past_one_machine.scaling.processes import cost_of


@pytest.fixture
def step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(processes, "ROOT", tmp_path)
    return tmp_path / "step.py"


def test_a_step_is_told_with_what_it_took(step: Path) -> None:
    step.write_text("import time; held = b'x' * (80 << 20); time.sleep(3)")
    cost = cost_of("step.py", os.environ)
    assert 80 < cost.peak_mb < 160
    assert 3 < cost.seconds < 30
    assert 0 < cost.cpu_seconds < cost.seconds * 2


def test_a_step_that_fails_is_told_with_its_last_lines(step: Path) -> None:
    step.write_text("print('what it said'); raise SystemExit(3)")
    with pytest.raises(StepError, match=r"(?s)step\.py failed with exit code 3.*what it said"):
        cost_of("step.py", os.environ)
