"""The ranking model from PyTorch to ONNX, in a dialect that the serving runtime reads."""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import onnx
import onnxruntime
import torch
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from torch import nn

from data_exchange_center import wire
from data_exchange_center.steps import CheckError

# Triton 2.51 (image 24.10) carries ONNX Runtime 1.19, which reads up to these.
OPSET: Final = 18
MAX_OPSET: Final = 21
MAX_IR: Final = 10
# Largest difference between a PyTorch and an ONNX Runtime probability. The runtime sums the list ranker's hundreds of
# float32 products in another order: 384,000 candidates of MovieLens-1M differ by up to 8.3e-7.
TOLERANCE: Final = 5e-6
_RELEASE: Final = "release"  # key of the model's metadata


def export_onnx(model: nn.Module, width: int, release: str) -> bytes:
    """A served model, (rows, width) float32 -> (rows, 1), as ONNX bytes that name their release.

    The number of rows is free. The same weights give the same bytes.
    """
    example = torch.zeros((2, width), dtype=torch.float32)
    for talkative in ("torch.onnx", "onnxscript", "onnx_ir"):
        logging.getLogger(talkative).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns about its own deprecated parts
        program = torch.onnx.export(
            model.eval(),
            (example,),
            dynamo=True,
            opset_version=OPSET,
            input_names=[wire.MODEL_INPUT],
            output_names=[wire.MODEL_OUTPUT],
            dynamic_shapes=({0: torch.export.Dim("rows", min=1, max=wire.MAX_BATCH)},),
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
    onnx.helper.set_model_props(proto, {_RELEASE: release})
    content: bytes = proto.SerializeToString(deterministic=True)
    return content


@dataclass(frozen=True)
class ModelFile:
    """What a model file says of itself."""

    release: str | None  # None: it names none
    width: int  # columns of its input


def read_model_file(path: Path) -> ModelFile:
    """Release and width of an exported model. Raises CheckError when it is not one."""
    try:
        proto = onnx.load(path, load_external_data=False)
        width = int(proto.graph.input[0].type.tensor_type.shape.dim[1].dim_value)
    except (DecodeError, IndexError) as error:
        raise CheckError(
            f"{path} is not an exported ranking model: delete its folder and run this step again"
        ) from error
    return ModelFile({prop.key: prop.value for prop in proto.metadata_props}.get(_RELEASE), width)


def check_onnx(content: bytes, model: nn.Module, rows: NDArray[np.float32]) -> float:
    """The bytes are valid, in the pinned dialect, take any number of rows and score ``rows`` as PyTorch does.

    Args:
        rows: (n, width) real model inputs, n >= 2.

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
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    with torch.inference_mode():
        truth = model(torch.from_numpy(rows)).numpy()
    whole = session.run([wire.MODEL_OUTPUT], {wire.MODEL_INPUT: rows})[0]
    single = session.run([wire.MODEL_OUTPUT], {wire.MODEL_INPUT: rows[:1]})[0]
    if whole.shape != (len(rows), 1) or single.shape != (1, 1):
        raise CheckError(f"the ONNX model gives shapes {whole.shape} and {single.shape} for {len(rows)} rows and 1 row")
    difference = float(max(np.abs(whole - truth).max(), np.abs(single - truth[:1]).max()))
    if not difference <= TOLERANCE:  # a NaN fails too
        row = int(np.abs(whole - truth).argmax())
        raise CheckError(
            f"row {row}: ONNX Runtime scores {whole[row, 0]!r}, PyTorch {truth[row, 0]!r}; at most {TOLERANCE} apart "
            "is allowed"
        )
    return difference
