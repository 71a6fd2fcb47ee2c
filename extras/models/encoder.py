"""Encoders: ONNX models that make a user's vector of the newest events, checked, as a channel, run offline.

The only input of a bundle's encoder.onnx, and its only output:

    items         INT64 (batch, history): the item's row in items.parquet, counted from 1, oldest event first; padded
                  with 0 on the left
    (any name)    FLOAT (batch, dimensions): the user's vector

Online Triton runs the model, offline ONNX Runtime.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

import numpy as np
from numpy.typing import NDArray

from data_exchange_center import wire
from data_exchange_center.channels import Arrays, EncodedChannel, Float32, Requests
from data_exchange_center.recipes import VectorRecipe

if TYPE_CHECKING:
    import onnx

SPARE: Final = 4  # a request carries so many times the events that a model reads: items unknown to it are skipped
ROWS: Final = 128  # of a run


class ImportedEncoderRecipe(VectorRecipe):
    """Settings of an imported encoder, in Triton, and the vectors of its items, in the index."""

    trained_by: ClassVar[str] = "extras.models.channel:fit"
    served_as: ClassVar[str] = f"{__name__}:Encoder"

    kind: Literal["imported_encoder"] = "imported_encoder"
    name: str = "imported"
    file: str  # as `write_model` wrote it
    history: int  # newest events that it reads


@dataclass(frozen=True, eq=False)
class Encoder(EncodedChannel):
    """A user's vector is the model's output for the newest events; items that it does not know are skipped."""

    form: ClassVar[str] = "imported_encoder"

    newest: int
    codes: NDArray[np.int64]  # (items + 1,) the model's code; 0: unknown to it
    items: Float32  # (items + 1, d + 2)
    trained: NDArray[np.bool_]  # (items + 1,) whether the model has the item

    @property
    def events(self) -> int:
        return SPARE * self.newest

    def item_vectors(self) -> Float32:
        return self.items

    def inputs(self, requests: Requests) -> Arrays:
        codes = self.codes[requests.items[:, : self.events]]  # (m, n) newest first
        if not codes.any():
            return {}
        known_first = np.argsort(codes == 0, axis=1, kind="stable")[:, : self.newest]
        oldest_first = np.take_along_axis(codes, known_first, axis=1)[:, ::-1]
        padding = self.newest - oldest_first.shape[1]
        return {"items": np.pad(oldest_first, ((0, 0), (padding, 0)))}

    def user_vectors(self, requests: Requests) -> Float32:
        vectors = np.full((len(requests), self.items.shape[1]), np.nan, np.float32)
        inputs = self.inputs(requests)
        if not inputs or not len(self.onnx):
            return vectors
        items = inputs["items"]
        known = np.flatnonzero(items.any(axis=1))
        for start in range(0, len(known), ROWS):
            rows = known[start : start + ROWS]
            (vectors[rows],) = self._session.run(None, {"items": items[rows]})
        return vectors

    @cached_property
    def _session(self) -> Any:
        return session(self.onnx.tobytes())


def session(model: bytes) -> Any:
    """The model in ONNX Runtime, on one thread: training calls channels from several."""
    import onnxruntime  # the server has no need of it

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4  # errors are raised, too
    providers = ["CPUExecutionProvider"]
    return onnxruntime.InferenceSession(model, options, providers=providers)


def read_encoder(path: Path, history: int, n_items: int, dims: int) -> bytes:
    """Read and check encoder.onnx; return it as it is served: query vectors (batch, dims + 2) as its output.

    ``history``: newest events that it reads; ``n_items``, ``dims``: of the item vectors. Raises BundleError.
    """
    import onnx
    from google.protobuf.message import DecodeError

    from extras.models.bundle import BundleError
    from offline_to_online.onnx_export import MAX_IR, MAX_OPSET

    try:
        proto = onnx.load(path)
    except (OSError, DecodeError, onnx.checker.ValidationError) as error:
        raise BundleError(
            f"{path}: cannot be read as an ONNX model ({_line(error)})"
        ) from error
    opsets = [each for each in proto.opset_import if each.domain in ("", "ai.onnx")]
    opset = max((each.version for each in opsets), default=0)
    if opset > MAX_OPSET:
        raise BundleError(
            f"{path}: is of opset {opset}, Triton reads at most {MAX_OPSET}: export with opset_version=18"
        )
    inputs, outputs = proto.graph.input, proto.graph.output
    names = [each.name for each in inputs]
    if names != ["items"] or len(outputs) != 1:
        raise BundleError(
            f"{path}: has the inputs {names} and {len(outputs)} outputs; an encoder has the input 'items' and one "
            "output, the user's vector"
        )
    proto.ir_version = min(proto.ir_version, MAX_IR)
    extend_to_query(proto, dims)
    content: bytes = proto.SerializeToString(deterministic=True)
    _try(path, content, history, n_items, dims)
    return content


def extend_to_query(proto: onnx.ModelProto, dims: int) -> None:
    """Append a node that gives query vectors, (batch, dims + 2), as `channels.with_bias_dims` does."""
    from onnx import TensorProto, helper

    graph = proto.graph
    output = graph.output.pop()
    two_columns = helper.make_tensor("_pads", TensorProto.INT64, [4], [0, 0, 0, 2])
    graph.initializer.append(two_columns)
    pad = helper.make_node("Pad", [output.name, "_pads"], [wire.MODEL_OUTPUT])
    graph.node.append(pad)
    vectors = helper.make_tensor_type_proto(TensorProto.FLOAT, ["batch", dims + 2])
    graph.output.add(name=wire.MODEL_OUTPUT, type=vectors)


def _try(path: Path, model: bytes, history: int, n_items: int, dims: int) -> None:
    """Run the model for the last item, and for the first and the last. Raises BundleError."""
    from extras.models.bundle import BundleError

    for last in ([n_items], [1, n_items]):
        items = np.zeros((len(last), history), np.int64)
        items[:, -1] = last
        try:
            (found,) = session(model).run([wire.MODEL_OUTPUT], {"items": items})
        except Exception as error:  # ONNX Runtime's have no common base
            raise BundleError(
                f"{path}: ONNX Runtime cannot run it for {len(last)} users, {history} events of each and the last "
                f"item's code, {n_items:,}: export it with any batch; a code is an item's row in items.parquet, from "
                f"1, and 0 is padding ({_line(error)})"
            ) from error
        if found.shape != (len(last), dims + 2) or not np.isfinite(found).all():
            raise BundleError(
                f"{path}: gives {found.shape} for {len(last)} users, or values that are not numbers; items have "
                f"vectors of {dims}"
            )


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
