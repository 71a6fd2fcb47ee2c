"""Parts of the tests in lanes, and skips that fail a run in CI."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import run

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(run, "LOGS", tmp_path)
    return tmp_path


def test_a_part_that_fails_fails_the_whole_and_stops_no_other(
    logs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    one = {
        "first": "echo '7 passed, 1 skipped in 0.10s'",
        "bad": "false | cat",
        "last": "echo 'NOT TESTED: a is missing: b'",
    }
    monkeypatch.setattr(run, "LANES", {"test": (one, {"beside": "echo '=== 3 failed in 70.1s (0:01:10) ==='"})})
    assert run.main("test") == 1
    end = capsys.readouterr().out.rpartition("=== tests test ===")[2]
    assert end.splitlines()[-1] == "NOT TESTED: a is missing: b"
    assert "7 passed, 1 skipped in 0.10s" in end
    assert "3 failed in 70.1s (0:01:10)" in end
    assert end.count("FAILED") == 2  # the part, and all
    parts = json.loads((logs / "times.json").read_text())["parts"]
    assert {part["part"]: part["ok"] for part in parts} == {"first": True, "bad": False, "last": True, "beside": True}


@pytest.mark.parametrize("ci", ["true", ""])
def test_in_ci_a_skip_that_is_not_on_the_list_fails_the_run(ci: str, tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text((ROOT / "tests/conftest.py").read_text())
    (tmp_path / "allowed_skips.toml").write_text('[[allowed]]\ntest = "test_a.py"\nreason = "known"\nbecause = "x"\n')
    skip = "import pytest\ndef test_it(): pytest.skip('{}')\n"
    (tmp_path / "test_a.py").write_text(skip.format("NOT TESTED: known is missing: apt install it"))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--rootdir={tmp_path}", str(tmp_path)]

    def pytest_run() -> subprocess.CompletedProcess[str]:
        env = os.environ | {"CI": ci, "PYTHONPATH": str(ROOT)}
        return subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)

    done = pytest_run()
    assert done.returncode == 0, done.stdout
    assert "NOT TESTED: known is missing: apt install it (1 test)" in done.stdout
    (tmp_path / "test_b.py").write_text(skip.format("for no reason"))
    done = pytest_run()
    assert done.returncode == (1 if ci else 0), done.stdout
    assert ("SKIPPED IN CI, and not in allowed_skips.toml: test_b.py::test_it: for no reason" in done.stdout) == bool(
        ci
    )


def test_every_test_can_be_imported() -> None:
    """Those too that run against services alone."""
    parts = [f"tests/{name}" for name in ("services", "browser", "e2e", "cluster", "containers")]
    command = [sys.executable, "-m", "pytest", "--collect-only", "-qq", "-p", "no:cacheprovider", *parts]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-5_000:]


def test_a_script_runs_only_when_all_of_its_module_is_there() -> None:
    """What follows `if __name__ == "__main__"` is not defined yet when it runs."""
    tracked = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for path in tracked.split():
        body = ast.parse((ROOT / path).read_bytes()).body
        runs = [
            number for number, node in enumerate(body) if isinstance(node, ast.If) and "__main__" in ast.unparse(node)
        ]
        assert runs in ([], [len(body) - 1]), path
