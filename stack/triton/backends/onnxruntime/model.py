"""A Triton backend that runs ``<model>/<version>/model.onnx`` with onnxruntime.

It has the name of the container's own backend, so that one config.pbtxt and one model repository serve both.
Runs inside Triton's Python stub; needs numpy and onnxruntime.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import triton_python_backend_utils as triton


class TritonPythonModel:
    """One instance of one version of a model."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Load the version's model; a model that cannot be loaded fails here, and Triton reports it not ready."""
        options = onnxruntime.SessionOptions()
        # Triton runs several instances: more threads would fight over the cores
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        path = Path(args["model_repository"]) / args["model_version"] / "model.onnx"
        self._session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        config = json.loads(args["model_config"])
        self._inputs = [tensor["name"] for tensor in config["input"]]
        self._outputs = [tensor["name"] for tensor in config["output"]]

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Return one response per request, in their order."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        # By DLPack: this Triton's stub was built against numpy 1, and its as_numpy gives empty arrays with numpy 2.
        feed = {
            name: np.from_dlpack(triton.get_input_tensor_by_name(request, name))
            for name in self._inputs
        }
        try:
            values = self._session.run(self._outputs, feed)
        except Exception as error:
            return triton.InferenceResponse(
                [], error=triton.TritonError(f"onnxruntime: {error}")
            )
        tensors = zip(self._outputs, values, strict=True)
        return triton.InferenceResponse(
            [
                triton.Tensor.from_dlpack(name, np.ascontiguousarray(value))
                for name, value in tensors
            ]
        )


def _quiet(unraisable: Any) -> None:
    """Suppress numpy's error on freeing a DLPack capsule without the standard's name: this stub gives its own name, and
    every answer would leave an error in the log. (Renaming it needs ctypes, which a distribution's Python may not load
    here: the stub brings a libpython of its own.)"""
    if "PyCapsule_GetPointer called with incorrect name" not in str(
        unraisable.exc_value
    ):
        sys.__unraisablehook__(unraisable)


sys.unraisablehook = _quiet
