"""What `make test` took is read from what it prints."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[4]
PRINTED = """
--- lint: 25 s
.venv/bin/python -m pytest tests/unit -q
580 passed, 1 skipped in 41.50s
--- unit tests: 43 s
21 skipped in 0.52s
--- browser tests: 2 s
84 passed in 301.02s (0:05:01)
--- service tests: 303 s
31 passed in 420.11s (0:07:00)
--- end-to-end tests: 422 s
"""


def test_parts_and_counts_are_found() -> None:
    parts = runpy.run_module("research.figures.suite_times")["parts"]
    assert parts(PRINTED) == [
        {"part": "lint", "seconds": 25, "passed": None},
        {"part": "unit tests", "seconds": 43, "passed": 580},
        {"part": "browser tests", "seconds": 2, "passed": 0},
        {"part": "service tests", "seconds": 303, "passed": 84},
        {"part": "end-to-end tests", "seconds": 422, "passed": 31},
    ]


def test_a_run_that_failed_leaves_the_figures_alone() -> None:
    figures = ROOT / "pic/figures/test.json"
    before = json.loads(figures.read_text()) if figures.exists() else None
    half = PRINTED.partition("84 passed")[0]
    done = subprocess.run(
        [sys.executable, "-m", "research.figures.suite_times"],
        cwd=ROOT,
        input=half,
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 1
    assert "did not run to its end" in done.stderr
    assert (json.loads(figures.read_text()) if figures.exists() else None) == before
