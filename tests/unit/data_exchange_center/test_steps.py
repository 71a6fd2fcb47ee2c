"""A step ends on a user's mistake with one sentence; no process of ours sends telemetry."""

import io
import json
import os
import pickle
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import TextIO

import onnx.parser
import pytest

from data_exchange_center import NO_TELEMETRY
from data_exchange_center import steps as module
from data_exchange_center.artifacts import ArtifactError
from data_exchange_center.errors import RecsysError
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError, progress, run
from stack.commands import PROGRAMS
from stack.service import Service
from stack.supervision import describe


class FullError(RecsysError):
    exit_code = 3


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (StepError("no such folder"), 1),
        (ArtifactError("x is missing"), 1),
        (FullError("disk full"), 3),
    ],
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


def test_an_uncreatable_folder_is_named_in_the_error(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(SystemExit) as caught:
        run(lambda _: (file / "online").mkdir(parents=True))
    assert str(file / "online") in str(caught.value)
    assert "RECSYS_EXCHANGE_DIR" in str(caught.value)
    assert "\n" not in str(caught.value)


def ends(
    *command: str, stdout: int | TextIO = subprocess.PIPE
) -> tuple[int, str | None, str]:
    """Exit code and outputs of a process."""
    done = subprocess.run(
        command, stdout=stdout, stderr=subprocess.PIPE, text=True, check=False
    )
    return done.returncode, done.stdout, done.stderr


def test_ctrl_c_while_a_command_imports_prints_no_trace() -> None:
    code = "import data_exchange_center; import os, signal; os.kill(os.getpid(), signal.SIGINT); input()"
    ended = ends(sys.executable, "-c", code)
    assert ended == (-signal.SIGINT, "", "interrupted\n")


PRINTS = (
    "from data_exchange_center.steps import run; run(lambda _: print('x' * 100_000))"
)


def test_a_reader_who_has_enough_ends_a_command_without_a_word() -> None:
    command = f"{sys.executable} -c {shlex.quote(PRINTS)} | head -c 1; exit ${{PIPESTATUS[0]}}"
    assert ends("bash", "-c", command) == (141, "x", "")


def test_an_output_that_is_full_is_a_sentence_about_it() -> None:
    said = "the output cannot be written: No space left on device.\n"
    with Path("/dev/full").open("w") as full:
        assert ends(sys.executable, "-c", PRINTS, stdout=full) == (1, None, said)


@pytest.mark.parametrize(
    "bug", [ZeroDivisionError(), OSError("not raised by the system")]
)
def test_a_bug_keeps_its_stack_trace(bug: Exception) -> None:
    def main(settings: Settings) -> None:
        raise bug

    with pytest.raises(type(bug)):
        run(main)


def test_a_file_gets_lines_and_no_carriage_returns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "LINE_EVERY_S", 1e-9)
    stream = io.StringIO()
    with progress(total=4, desc="ranker", unit="batch", stream=stream) as bar:
        for loss in range(4):
            bar.set_postfix(loss=loss, refresh=False)
            bar.update()
    lines = stream.getvalue().splitlines()
    assert "\r" not in stream.getvalue()
    assert lines[1].startswith(
        "ranker: 2 of 4 batch (50%), 00:00 gone, 00:00 to go, loss=1"
    )
    assert lines[-1].startswith("ranker: 4 of 4")
    assert all(lines)


def test_an_error_has_problem_and_remedy_and_can_be_pickled() -> None:
    there = pickle.loads(
        pickle.dumps(StepError("Redis does not answer", "Run `make up`."))
    )
    assert str(there) == "Redis does not answer. Run `make up`."
    assert (there.problem, there.remedy) == ("Redis does not answer", "Run `make up`.")
    assert str(StepError("x is missing: run s1")) == "x is missing: run s1"


RUNS = "import onnxruntime, sys; onnxruntime.InferenceSession(sys.argv[1], providers=['CPUExecutionProvider'])"
SAME = """<ir_version: 10, opset_import: ["": 18]>
same (float[1] x) => (float[1] y) { y = Identity(x) }"""


@pytest.mark.parametrize(
    ("first", "leaves"), [("import data_exchange_center; ", False), ("", True)]
)
def test_onnxruntime_leaves_no_files_with_our_settings(
    tmp_path: Path, first: str, leaves: bool
) -> None:
    """Without them it does: else this test would look in the wrong place."""
    model = tmp_path / "model.onnx"
    onnx.save(onnx.parser.parse_model(SAME), model)
    home = tmp_path / "home"
    home.mkdir()
    environment = {**os.environ, "HOME": str(home)}
    for name in (*NO_TELEMETRY, "XDG_CACHE_HOME", "CI"):  # it sends nothing in CI
        environment.pop(name, None)
    command = [sys.executable, "-c", first + RUNS, str(model)]
    subprocess.run(command, env=environment, check=True, timeout=120)
    assert bool(list(home.rglob("Microsoft"))) == leaves


@pytest.mark.parametrize("service", PROGRAMS, ids=lambda service: service.name)
def test_every_program_of_the_stack_sends_no_telemetry(
    service: Service, tmp_path: Path
) -> None:
    described = json.loads(describe(service, Settings(exchange_dir=tmp_path)))
    assert described["environment"].items() >= NO_TELEMETRY.items()
