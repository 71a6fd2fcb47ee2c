"""onnxruntime leaves an id of the machine, and events to send, in the user's folder unless it is stopped."""

import json
import os
import subprocess
import sys
from pathlib import Path

import onnx.parser
import pytest

from data_exchange_center import NO_TELEMETRY
from data_exchange_center.settings import Settings
from stack.commands import PROGRAMS
from stack.service import Service
from stack.supervision import describe

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
