"""Encoders: ONNX models that make a user's vector of the newest events, checked, as a channel, run offline.

The inputs of a bundle's encoder.onnx, oldest event first and padded with 0 on the left:

    items   INT64 (batch, history): the item's row in items.parquet, counted from 1; 0: padding
    times   INT64 (batch, history + 1), where the model uses them: seconds of the events, at the end the request's

Its only output is the user's vector, FLOAT (batch, dimensions). Online Triton runs the model, offline ONNX Runtime.
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
from data_exchange_center.steps import StepError

if TYPE_CHECKING:
    import onnx

    from extras.models.bundle import About

INPUTS: Final = ("items", "times")
SPARE: Final = 4  # a request carries so many times the events that a model reads: items unknown to it are skipped
ROWS: Final = 128  # of a run
LARGEST: Final = (
    256 * 2**20
)  # bytes: each step reads the file with the release's channels


class ImportedEncoderRecipe(VectorRecipe):
    """Settings of an imported encoder, in Triton, and the vectors of its items, in the index."""

    trained_by: ClassVar[str] = "extras.models.channel:fit"
    served_as: ClassVar[str] = f"{__name__}:Encoder"

    kind: Literal["imported_encoder"] = "imported_encoder"
    name: str = "imported"
    file: str  # as `Prepared.write` wrote it
    sha256: str
    training_file: str = ""
    training_sha256: str = ""
    history: int  # newest events that it reads
    times: bool = False  # whether it reads their times


@dataclass(frozen=True, eq=False)
class Encoder(EncodedChannel):
    """A user's vector is the model's output for the newest events; items that it does not know are skipped."""

    form: ClassVar[str] = "imported_encoder"

    newest: int
    timed: bool
    codes: NDArray[
        np.int64
    ]  # (items + 1,) the model's code of an item; 0: unknown to it
    items: Float32  # (items + 1, d + 2)
    trained: NDArray[
        np.bool_
    ]  # (items + 1,) False for padding and items that the model does not have

    @property
    def events(self) -> int:
        return SPARE * self.newest

    def item_vectors(self) -> Float32:
        return self.items

    def inputs(self, requests: Requests) -> Arrays:
        newest_first = self.codes[requests.items[:, : self.events]]  # (m, n)
        if not newest_first.any():
            return {}
        known_first = np.argsort(newest_first == 0, axis=1, kind="stable")
        order = known_first[:, : self.newest][
            :, ::-1
        ]  # unknown ones, then oldest first
        of_items = np.zeros((len(requests), self.newest), np.int64)
        of_items[:, self.newest - order.shape[1] :] = np.take_along_axis(
            newest_first, order, axis=1
        )
        if not self.timed:
            return {"items": of_items}
        of_times = np.zeros((len(requests), self.newest + 1), np.int64)
        seconds = np.take_along_axis(
            np.asarray(requests.times, np.int64), order, axis=1
        )
        of_times[:, self.newest - order.shape[1] : -1] = seconds
        of_times[:, :-1][of_items == 0] = 0
        of_times[:, -1] = requests.timestamps
        return {"items": of_items, "times": of_times}

    def user_vectors(self, requests: Requests) -> Float32:
        vectors = np.full((len(requests), self.items.shape[1]), np.nan, np.float32)
        inputs = self.inputs(requests) if len(self.onnx) else {}
        if inputs:
            known = np.flatnonzero(inputs["items"].any(axis=1))
            for start in range(0, len(known), ROWS):
                rows = known[start : start + ROWS]
                try:
                    (vectors[rows],) = self._session.run(
                        None, {name: values[rows] for name, values in inputs.items()}
                    )
                except (
                    Exception
                ) as error:  # ONNX Runtime has many, without a common base
                    raise StepError(
                        f"encoder {self.name}: ONNX Runtime cannot run it ({_line(error)}): export it with any batch "
                        "and with an embedding for each item and the padding, and import it again"
                    ) from error
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
    return onnxruntime.InferenceSession(
        model, options, providers=["CPUExecutionProvider"]
    )


def read_encoder(path: Path, about: About, n_items: int, dims: int) -> bytes:
    """Read and check encoder.onnx; return it as it is served: query vectors (batch, dims + 2) as its output.

    ``n_items``, ``dims``: of the item vectors. Raises BundleError.
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
    opset = max(
        (each.version for each in proto.opset_import if each.domain in ("", "ai.onnx")),
        default=0,
    )
    if opset > MAX_OPSET:
        raise BundleError(
            f"{path}: is of opset {opset}, Triton reads at most {MAX_OPSET}: export with opset_version=18"
        )
    stored = {each.name for each in proto.graph.initializer}
    inputs = [
        each for each in proto.graph.input if each.name not in stored
    ]  # older exporters list weights, too
    del proto.graph.input[:]
    proto.graph.input.extend(inputs)
    _check_shapes(path, proto, about, dims)
    proto.ir_version = min(proto.ir_version, MAX_IR)
    del proto.metadata_props[:]
    extend_to_query(proto, about.similarity == "cosine")
    content: bytes = proto.SerializeToString(deterministic=True)
    if len(content) > LARGEST:
        raise BundleError(
            f"{path}: has {len(content):,} bytes; at most {LARGEST:,} are served"
        )
    _try(path, content, about, n_items)
    return content


def _try(path: Path, model: bytes, about: About, n_items: int) -> None:
    """Run the model for the last item, and for the first and the last. Raises BundleError."""
    from extras.models.bundle import BundleError

    for last in ([n_items], [1, n_items]):
        inputs = {"items": np.zeros((len(last), about.history_length or 0), np.int64)}
        inputs["items"][:, -1] = last
        if "times" in about.inputs:
            inputs["times"] = np.pad(
                (inputs["items"] > 0).astype(np.int64), ((0, 0), (0, 1)), mode="edge"
            )
        try:
            (found,) = session(model).run([wire.MODEL_OUTPUT], inputs)
        except Exception as error:  # ONNX Runtime has many, without a common base
            raise BundleError(
                f"{path}: ONNX Runtime cannot run it for {len(last)} users and the last item's code, {n_items:,}; "
                f"a code is an item's row in items.parquet, from 1, and 0 is padding ({_line(error)})"
            ) from error
        if found.shape[0] != len(last):
            raise BundleError(
                f"{path}: gives {found.shape[0]} vectors for a batch of {len(last)}"
            )
        if not np.isfinite(found).all():
            raise BundleError(
                f"{path}: gives values that are not numbers for a history of one event"
            )


def _check_shapes(path: Path, proto: onnx.ModelProto, about: About, dims: int) -> None:
    """Raises BundleError where inputs and output are not those that the module describes."""
    from onnx import TensorProto

    from extras.models.bundle import BundleError

    history = about.history_length or 0
    wanted = {
        "items": (TensorProto.INT64, history),
        "times": (TensorProto.INT64, history + 1),
    }
    inputs = {each.name: each for each in proto.graph.input}
    if list(inputs) != list(about.inputs):
        raise BundleError(
            f"{path}: has the inputs {list(inputs)}, model.toml says {list(about.inputs)}"
        )
    if len(proto.graph.output) != 1:
        raise BundleError(
            f"{path}: has {len(proto.graph.output)} outputs; an encoder has one, the user's vector"
        )
    output = proto.graph.output[0]
    for name, value, (kind, width) in (
        *((name, value, wanted[name]) for name, value in inputs.items()),
        (output.name, output, (TensorProto.FLOAT, dims)),
    ):
        tensor = value.type.tensor_type
        shape = [dim.dim_value or dim.dim_param for dim in tensor.shape.dim]
        if (
            tensor.elem_type != kind
            or len(shape) != 2
            or shape[1] != width
            or isinstance(shape[0], int)
        ):
            types = (
                TensorProto.DataType.Name(each) for each in (tensor.elem_type, kind)
            )
            raise BundleError(
                f"{path}: {name} is {next(types)} {shape}, expected {next(types)} ['batch', {width}], with any batch"
            )


def extend_to_query(proto: onnx.ModelProto, unit: bool) -> None:
    """Append nodes that give query vectors, as `channels.query_vectors`; ``unit``: of vectors of length 1."""
    from onnx import TensorProto, helper

    graph = proto.graph
    output = graph.output.pop()
    steps, last = [], output.name
    if unit:
        steps.append(
            helper.make_node("LpNormalization", [last], ["_unit"], axis=-1, p=2)
        )
        last = "_unit"
    graph.initializer.extend(
        [
            helper.make_tensor("_one_column", TensorProto.INT64, [4], [0, 0, 0, 1]),
            helper.make_tensor("_one", TensorProto.FLOAT, [], [1.0]),
        ]
    )
    steps.append(helper.make_node("Pad", [last, "_one_column", "_one"], ["_with_bias"]))
    steps.append(
        helper.make_node("Pad", ["_with_bias", "_one_column"], [wire.MODEL_OUTPUT])
    )
    graph.node.extend(steps)
    width = output.type.tensor_type.shape.dim[1].dim_value + 2
    graph.output.append(
        helper.make_tensor_value_info(
            wire.MODEL_OUTPUT, TensorProto.FLOAT, ["batch", width]
        )
    )


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
