"""What a make target refuses before it changes anything."""

import fcntl
import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def make(
    *arguments: str, cwd: Path = ROOT, **variables: str
) -> subprocess.CompletedProcess[str]:
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("RECSYS_", "MAKE", "MFLAGS"))
        and name != "PYTHON"  # named for the run of these tests
    }
    return subprocess.run(
        ["make", "--no-print-directory", *arguments],
        env={**environment, **variables},
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("data", ["/nope", "it's /nope"])
def test_a_demo_of_missing_data_ends_with_the_reason(data: str) -> None:
    done = make("demo", "--dry-run", RECSYS_DATA=data)
    assert done.returncode != 0
    assert f"{data} does not exist" in done.stderr.splitlines()[-1]


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
