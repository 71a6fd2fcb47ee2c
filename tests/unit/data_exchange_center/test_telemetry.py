"""onnxruntime leaves an id of the machine, and events to send, in the user's folder unless it is stopped."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from data_exchange_center import NO_TELEMETRY
from data_exchange_center.settings import Settings
from stack.commands import PROGRAMS
from stack.service import Service
from stack.supervision import describe

RUNS = "import onnxruntime, sys; onnxruntime.InferenceSession(sys.argv[1], providers=['CPUExecutionProvider'])"


@pytest.mark.parametrize(
    ("first", "leaves"), [("import data_exchange_center; ", False), ("", True)]
)
def test_onnxruntime_leaves_no_files_with_our_settings(
    tmp_path: Path, first: str, leaves: bool
) -> None:
    """Without them it does: else this test would look in the wrong place."""
    tensors = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"
    ]
    same = helper.make_node("Identity", ["x"], ["y"])
    graph = helper.make_graph([same], "same", tensors[:1], tensors[1:])
    opset = helper.make_opsetid("", 18)
    model = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graph, ir_version=10, opset_imports=[opset]), model)
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
