"""Export the ranking model from PyTorch to ONNX, by an opset and IR version that the serving runtime reads."""

import logging
import warnings
from typing import Final

import numpy as np
import onnx
import onnxruntime
import torch
from torch import nn

from data_exchange_center import features, steps, wire
from offline.models.rankers import outputs
from offline.models.training import tensors_of
from offline_to_online.stores.triton import RELEASE

# Triton 2.51 (image 24.10) carries ONNX Runtime 1.19, which reads up to these.
OPSET: Final = 18
MAX_OPSET: Final = 21
MAX_IR: Final = 10
# Largest difference between a PyTorch and an ONNX Runtime probability: the runtime sums the list ranker's hundreds of
# float32 products in another order.
TOLERANCE: Final = 5e-6


def export_onnx(model: nn.Module, sizes: features.InputSizes, release: str) -> bytes:
    """Export a `ScoringModel` as ONNX bytes, with the release in their metadata and the inputs of `ModelInputs`.

    The number of rows is dynamic. The same weights give the same bytes.
    """
    example = _zeros(sizes, rows=2)
    names = list(example.by_name)
    rows = torch.export.Dim("rows", min=1, max=wire.MAX_BATCH)
    for talkative in (
        "torch.onnx",
        "torch.utils.flop_counter",
        "onnxscript",
        "onnx_ir",
    ):
        logging.getLogger(talkative).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        # the exporter warns about its own deprecated parts
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            model.eval(),
            tensors_of(example),
            dynamo=True,
            opset_version=OPSET,
            input_names=names,
            output_names=[wire.MODEL_OUTPUT],
            dynamic_shapes=tuple(
                {0: rows} if name == wire.MODEL_INPUT else {} for name in names
            ),
            verbose=False,
        )
    if program is None:
        raise steps.CheckError("the exporter gave no ONNX program")
    proto = program.model_proto
    for node in proto.graph.node:
        del node.metadata_props[:]  # stack traces with the paths of this machine
        node.doc_string = ""
    for value in (
        *proto.graph.value_info,
        *proto.graph.input,
        *proto.graph.output,
        *proto.graph.initializer,
    ):
        del value.metadata_props[:]
    del proto.graph.metadata_props[:]
    proto.ir_version = min(proto.ir_version, MAX_IR)
    onnx.helper.set_model_props(proto, {RELEASE: release})
    content: bytes = proto.SerializeToString(deterministic=True)
    return content


def check_onnx(content: bytes, model: nn.Module, sizes: features.InputSizes) -> None:
    """Check the model's validity, opset and IR version, and that rows of zeros score as in PyTorch, one or several.

    Raises CheckError. Scores of real lists are compared once Triton serves the model (`offline_to_online.parity`).
    """
    proto = onnx.load_from_string(content)
    onnx.checker.check_model(proto, full_check=True)
    opsets = {entry.domain or "ai.onnx": entry.version for entry in proto.opset_import}
    if opsets.get("ai.onnx", 0) > MAX_OPSET or proto.ir_version > MAX_IR:
        raise steps.CheckError(
            f"the exporter wrote opset {opsets.get('ai.onnx')} and IR {proto.ir_version}; "
            f"the serving runtime reads at most {MAX_OPSET} and {MAX_IR}"
        )
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    for rows in (1, 3):
        inputs = _zeros(sizes, rows)
        (scores,) = session.run([wire.MODEL_OUTPUT], inputs.by_name)
        truth = outputs(model, inputs)
        if scores.shape != truth.shape or not np.abs(scores - truth).max() <= TOLERANCE:
            raise steps.CheckError(
                f"{rows} rows of zeros: ONNX Runtime scores {scores.tolist()}, PyTorch {truth.tolist()}; at most "
                f"{TOLERANCE} apart is allowed"
            )


def _zeros(sizes: features.InputSizes, rows: int) -> features.ModelInputs:
    zeros = np.zeros((rows, sizes.columns), np.float32)
    if not sizes.events:
        return features.ModelInputs(zeros)
    return features.ModelInputs(
        zeros, np.zeros((1, sizes.events, len(features.HISTORY)), np.float32)
    )
