"""Environment that the Makefile hands to the steps."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PATHS = ("RECSYS_DATA", "RECSYS_EXCHANGE_DIR", "RECSYS_SERVICES_DIR")
PROBE = """
include Makefile
.PHONY: probe
probe:
\t@echo "$${RECSYS_DATA:-}|$${RECSYS_EXCHANGE_DIR:-}|$${RECSYS_SERVICES_DIR:-}|$(SERVICES)"
"""


PYTHON_PROBE = """
include Makefile
.PHONY: which fits
which:
\t@echo "$(PYTHON)"
fits:
\t$(require_python)
"""


def make(
    *arguments: str, text: str | None = None, cwd: Path = ROOT, **variables: str
) -> subprocess.CompletedProcess[str]:
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("RECSYS_", "MAKE", "MFLAGS"))
        and name != "PYTHON"  # named for the run of these tests
    }
    return subprocess.run(
        ["make", "--no-print-directory", *arguments],
        input=text,
        env={**environment, **variables},
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def handed_over(*arguments: str, **variables: str) -> list[str]:
    done = make("--file=-", "probe", *arguments, text=PROBE, **variables)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip("\n").split("|")


def test_a_relative_path_is_handed_over_absolute() -> None:
    there = str(ROOT.parent / "there")
    variables = dict.fromkeys(PATHS, "../there")
    assert handed_over(**variables) == [there] * 4
    # on make's command line
    assert handed_over(*(f"{name}=../there" for name in PATHS)) == [there] * 4


@pytest.mark.parametrize("data", ["/nope", "it's /nope"])
def test_a_demo_of_missing_data_ends_with_the_reason(data: str) -> None:
    done = make("demo", "--assume-old=setup", RECSYS_DATA=data)
    assert done.returncode != 0
    assert f"{data} does not exist" in done.stderr.splitlines()[-1]


def program(path: Path, script: str) -> Path:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("pass", ""),
        ("import sys; sys.version_info = (3, 10, 4)", "Python 3.11 to 3.13 is needed"),
        ("import sys; sys.version_info = (3, 14, 0)", "Python 3.11 to 3.13 is needed"),
        (
            "import importlib.util as u; found = u.find_spec; u.find_spec = lambda n: n != 'ensurepip' and found(n)",
            "-venv",
        ),
    ],
    ids=["fits", "older", "newer", "no-venv"],
)
def test_an_unfit_python_is_one_sentence(
    change: str, sentence: str, tmp_path: Path
) -> None:
    """``change`` runs in that Python before the Makefile's own lines."""
    script = f"""exec {sys.executable} -c "$(printf '%s\\n%s' "{change}" "$2")" """
    done = make(
        "--file=-",
        "fits",
        f"PYTHON={program(tmp_path / 'python', script)}",
        text=PYTHON_PROBE,
    )
    assert (done.returncode != 0) == bool(sentence), done.stderr
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_a_checkout_path_with_other_letters_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "épices"
    folder.mkdir()
    text = PYTHON_PROBE.replace("include Makefile", f"include {ROOT}/Makefile")
    done = make("--file=-", "fits", f"PYTHON={sys.executable}", text=text, cwd=folder)
    assert done.returncode != 0
    assert "ASCII" in done.stderr
    assert "Traceback" not in done.stderr


STEP_PROBE = """
include Makefile
.PHONY: probe
probe:
\t$(call step,steps,script.py)
"""


def test_a_step_runs_in_a_path_with_a_space_and_a_quote(tmp_path: Path) -> None:
    folder = tmp_path / "it's a checkout"
    (folder / "steps").mkdir(parents=True)
    (folder / ".venv/bin").mkdir(parents=True)
    (folder / "Makefile").write_bytes((ROOT / "Makefile").read_bytes())
    program(folder / ".venv/bin/python", 'echo "$1 in $PWD"')
    done = make("--file=-", "probe", text=STEP_PROBE, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert f"script.py in {folder}/steps" in done.stdout


def test_clean_lists_and_removes_what_is_named(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_bytes((ROOT / "Makefile").read_bytes())
    for folder in (".services", "data_exchange_center/offline", ".mypy_cache"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "data_exchange_center/README.md").touch()
    listed = make("clean", cwd=tmp_path)
    assert all(
        f"what={name}" in listed.stdout
        for name in ("venv", "services", "data", "caches")
    )
    assert (tmp_path / ".services").is_dir()
    assert make("clean", "what=nothing", cwd=tmp_path).returncode != 0
    assert make("clean", "what=data", cwd=tmp_path).returncode == 0
    assert not (tmp_path / "data_exchange_center/offline").exists()
    assert (tmp_path / ".services").is_dir()
    make("clean", "what=all", cwd=tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "Makefile",
        "data_exchange_center",
    ]
    assert (tmp_path / "data_exchange_center/README.md").is_file()


def test_clean_refuses_the_data_of_running_containers(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_bytes((ROOT / "Makefile").read_bytes())
    lock = tmp_path / "data_exchange_center/online/redis/.lock"
    lock.parent.mkdir(parents=True)
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        for what in ("data", "all"):
            refused = make("clean", f"what={what}", cwd=tmp_path)
            assert refused.returncode != 0
            assert "make docker-down" in refused.stderr
        assert lock.is_file()
        assert make("clean", "what=caches", cwd=tmp_path).returncode == 0
    assert make("clean", "what=data", cwd=tmp_path).returncode == 0
    assert not lock.exists()
