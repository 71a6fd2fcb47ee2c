"""A Triton backend that runs ``<model>/<version>/model.onnx`` with onnxruntime.

It bears the name of the container's own backend, so that one config.pbtxt and one model repository serve both.
Runs inside Triton's Python stub; needs numpy and onnxruntime.
"""

import json
from pathlib import Path

import numpy as np
import onnxruntime
import triton_python_backend_utils as triton


class TritonPythonModel:
    """One instance of one version of a model."""

    def initialize(self, args):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # Triton runs several instances: more threads would fight over the cores
        options.inter_op_num_threads = 1
        path = Path(args["model_repository"]) / args["model_version"] / "model.onnx"
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        config = json.loads(args["model_config"])
        self._inputs = [tensor["name"] for tensor in config["input"]]
        self._outputs = [tensor["name"] for tensor in config["output"]]

    def execute(self, requests):
        return [self._answer(request) for request in requests]

    def _answer(self, request):
        feed = {name: triton.get_input_tensor_by_name(request, name).as_numpy() for name in self._inputs}
        try:
            values = self._session.run(self._outputs, feed)
        except Exception as error:  # noqa: BLE001 (whatever the model raises is the answer to this request alone)
            return triton.InferenceResponse([], error=triton.TritonError(f"onnxruntime: {error}"))
        tensors = zip(self._outputs, values, strict=True)
        return triton.InferenceResponse([triton.Tensor(name, np.ascontiguousarray(value)) for name, value in tensors])
