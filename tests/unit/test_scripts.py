"""Every test can be imported; every script begins last, and explains itself."""

from __future__ import annotations

import ast
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_every_test_can_be_imported() -> None:
    """Those too that run against services alone."""
    parts = [
        f"tests/{name}"
        for name in ("services", "browser", "e2e", "cluster", "containers")
    ]
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--collect-only",
        "-qq",
        "-p",
        "no:cacheprovider",
        *parts,
    ]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-5_000:]


def test_a_script_runs_only_when_all_of_its_module_is_there() -> None:
    """What follows `if __name__ == "__main__"` is not defined yet when it runs."""
    tracked = subprocess.run(
        ["git", "ls-files", "*.py"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    for path in tracked.split():
        body = ast.parse((ROOT / path).read_bytes()).body
        runs = [
            number
            for number, node in enumerate(body)
            if isinstance(node, ast.If) and "__main__" in ast.unparse(node)
        ]
        assert runs in ([], [len(body) - 1]), path
        assert not re.match(r"(off|past_one).*/s\d_", path) or "about=" in ast.unparse(
            body[-1]
        ), path


@pytest.mark.parametrize(
    "script",
    [
        "offline/step_runner",
        "offline/preprocess/s1_data_split",
        "research/evaluation/running_server",
    ],
)
def test_a_command_without_arguments_has_help(
    script: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # so that one that goes on fails at once
    monkeypatch.setenv("RECSYS_RECIPE", "none")
    for argument, code in (("--help", 0), ("--all", 2)):
        monkeypatch.setattr(sys, "argv", [script, argument])
        with pytest.raises(SystemExit, match=rf"^{code}$"):
            runpy.run_path(str(ROOT / f"{script}.py"), run_name="__main__")
    printed = capsys.readouterr()
    about = ast.get_docstring(ast.parse((ROOT / f"{script}.py").read_bytes())) or ""
    assert about.splitlines()[0] in " ".join(printed.out.split())
    assert "unrecognized arguments: --all" in printed.err
