from __future__ import annotations

import os
from pathlib import Path

import pytest

from data_exchange_center.steps import StepError
from offline.scaling import processes
from offline.scaling.processes import cost_of

PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "held = bytearray(b'x' * (60 << 20)); import time; time.sleep(1.5)"])
held = bytearray(b"x" * (40 << 20))
child.wait()
"""


@pytest.fixture
def step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(processes, "ROOT", tmp_path)
    return tmp_path / "step.py"


def test_the_memory_of_all_its_processes_counts_together(step: Path) -> None:
    step.write_text(PARENT)
    cost = cost_of("step.py", os.environ)
    assert 100 < cost.peak_mb < 200
    assert cost.seconds > 1.4
    assert 0 < cost.cpu_seconds < cost.seconds * 2


def test_a_step_that_fails_is_told_with_its_last_lines(step: Path) -> None:
    step.write_text("print('what it said'); raise SystemExit(3)")
    with pytest.raises(StepError, match=r"(?s)step\.py failed with exit code 3.*what it said"):
        cost_of("step.py", os.environ)
