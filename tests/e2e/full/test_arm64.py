"""Every locked package has a wheel for Linux on arm64. Caller the package index; nothing is downloaded."""

import subprocess
from pathlib import Path

import pytest

from tests.e2e.pipeline import ROOT

PLATFORM = "aarch64-manylinux_2_35"  # Triton's wheel wants this glibc or a newer one, as on x86-64


@pytest.mark.parametrize(
    "lock",
    ["requirements.txt", "requirements-research.txt", "stack/triton/requirements.txt"],
)
@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
def test_the_locked_packages_install_on_arm64(
    lock: str, python: str, tmp_path: Path
) -> None:
    words = [
        "pip",
        "install",
        "--dry-run",
        "--no-deps",
        "--require-hashes",
        "--only-binary",
        ":all:",
        "--quiet",
    ]
    machine = (
        "--python-platform",
        PLATFORM,
        "--python-version",
        python,
        "--target",
        tmp_path,
    )
    command = [ROOT / ".venv/bin/uv", *words, *machine, "--requirement", ROOT / lock]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
