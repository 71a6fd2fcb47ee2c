"""The ranking model from PyTorch to ONNX, in a dialect that the serving runtime reads."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from typing import Final

import numpy as np
import onnx
import onnxruntime
import torch
from torch import nn

from data_exchange_center import wire
from data_exchange_center.features import Float32, ModelInputs, Widths
from data_exchange_center.steps import CheckError
from offline.models.kinds import score
from offline.models.training import THREADS
from offline_to_online.stores.triton import RELEASE, largest_difference

# Triton 2.51 (image 24.10) carries ONNX Runtime 1.19, which reads up to these.
OPSET: Final = 18
MAX_OPSET: Final = 21
MAX_IR: Final = 10
# Largest difference between a PyTorch and an ONNX Runtime probability. The runtime sums the list ranker's hundreds of
# float32 products in another order: 384,000 candidates of MovieLens-1M differ by up to 8.3e-7.
TOLERANCE: Final = 5e-6


def export_onnx(model: nn.Module, widths: Widths, release: str) -> bytes:
    """A `ScoringModel` as ONNX bytes that name their release; its inputs are those of `ModelInputs`.

    The number of rows is free. The same weights give the same bytes.
    """
    example = ModelInputs(np.zeros((2, widths.row), np.float32), np.zeros((1, widths.history), np.float32)).by_name
    rows = torch.export.Dim("rows", min=1, max=wire.MAX_BATCH)
    for talkative in ("torch.onnx", "torch.utils.flop_counter", "onnxscript", "onnx_ir"):
        logging.getLogger(talkative).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns about its own deprecated parts
        program = torch.onnx.export(
            model.eval(),
            tuple(map(torch.from_numpy, example.values())),
            dynamo=True,
            opset_version=OPSET,
            input_names=list(example),
            output_names=[wire.MODEL_OUTPUT],
            dynamic_shapes=tuple({0: rows} if name == wire.MODEL_INPUT else {} for name in example),
            verbose=False,
        )
    if program is None:
        raise CheckError("the exporter gave no ONNX program")
    proto = program.model_proto
    for node in proto.graph.node:
        del node.metadata_props[:]  # stack traces with the paths of this machine
        node.doc_string = ""
    for value in (*proto.graph.value_info, *proto.graph.input, *proto.graph.output, *proto.graph.initializer):
        del value.metadata_props[:]
    del proto.graph.metadata_props[:]
    proto.ir_version = min(proto.ir_version, MAX_IR)
    onnx.helper.set_model_props(proto, {RELEASE: release})
    content: bytes = proto.SerializeToString(deterministic=True)
    return content


def check_onnx(content: bytes, model: nn.Module, lists: Sequence[ModelInputs]) -> float:
    """The bytes are valid, in the pinned dialect, take any number of rows and score real lists as PyTorch does.

    Returns:
        The largest absolute difference between the two. Raises CheckError above `TOLERANCE`.
    """
    proto = onnx.load_from_string(content)
    onnx.checker.check_model(proto, full_check=True)
    opsets = {entry.domain or "ai.onnx": entry.version for entry in proto.opset_import}
    if opsets.get("ai.onnx", 0) > MAX_OPSET or proto.ir_version > MAX_IR:
        raise CheckError(
            f"the exporter wrote opset {opsets.get('ai.onnx')} and IR {proto.ir_version}; "
            f"the serving runtime reads at most {MAX_OPSET} and {MAX_IR}"
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    largest = 0.0
    for inputs in (lists[0].part(slice(1)), *lists):
        scores: Float32 = session.run([wire.MODEL_OUTPUT], inputs.by_name)[0]
        if scores.shape != (len(inputs), 1):
            raise CheckError(f"the ONNX model gives shape {scores.shape} for {len(inputs)} rows")
        largest = max(largest, largest_difference("ONNX Runtime", scores[:, 0], score(model, inputs), TOLERANCE))
    return largest
