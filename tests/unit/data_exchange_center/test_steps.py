"""A step ends on a user's mistake with one sentence."""

import errno
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from data_exchange_center.artifacts import ArtifactError
from data_exchange_center.errors import RecsysError
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError, run


class FullError(RecsysError):
    exit_code = 3


@pytest.mark.parametrize(
    ("error", "code"),
    [(StepError("no such folder"), 1), (ArtifactError("x is missing"), 1), (FullError("no room"), 3)],
)
def test_a_mistake_is_a_sentence_and_an_exit_code(
    error: RecsysError, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    def main(settings: Settings) -> None:
        raise error

    with pytest.raises(SystemExit) as caught:
        run(main)
    assert caught.value.code == code
    assert capsys.readouterr().err == f"{type(error).__name__}: {error}\n"


def test_a_folder_that_cannot_be_made_is_a_sentence_with_its_path(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(SystemExit) as caught:
        run(lambda _: (file / "online").mkdir(parents=True))
    assert str(file / "online") in str(caught.value)
    assert "RECSYS_EXCHANGE_DIR" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_full_disk_is_a_sentence() -> None:
    def main(settings: Settings) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(SystemExit, match=r"No space left on device.*make room"):
        run(main)


PRINTS = "from data_exchange_center.steps import run; run(lambda _: print('x' * 100_000))"


def test_a_reader_who_has_enough_ends_a_command_without_a_word() -> None:
    command = f"{sys.executable} -c {shlex.quote(PRINTS)} | head -c 1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (141, "x", "")


def test_an_output_that_is_full_is_a_sentence_about_it() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", PRINTS], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (done.returncode, done.stderr) == (1, "the output cannot be written: No space left on device.\n")


def test_an_os_error_that_the_system_did_not_raise_is_a_bug() -> None:
    def main(settings: Settings) -> None:
        raise OSError("somebody's own")

    with pytest.raises(OSError, match="somebody's own"):
        run(main)


def test_a_bug_keeps_its_stack_trace() -> None:
    def main(settings: Settings) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(main)


def test_main_is_given_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECSYS_SERVER__PORT", "5123")
    seen: list[Settings] = []
    run(seen.append)
    assert seen[0].server.port == 5123
