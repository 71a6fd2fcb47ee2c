"""Triton: scores of the ranking model and user vectors of encoders, over HTTP with its extension for binary tensors.

Over gRPC, which Triton speaks as well, a call costs the caller two and a half times the processor time.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any, ClassVar, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from data_exchange_center import channels, features, wire
from online.clients import base, http

_FLOAT: Final = "FP32"
_TYPES: Final[Mapping[str, tuple[str, str]]] = {"f": (_FLOAT, "<f4"), "i": ("INT64", "<i8")}  # numpy's kind -> Triton's
_BYTES: Final = 4  # of such a number
_WANTED: Final = [{"name": wire.MODEL_OUTPUT, "parameters": {"binary_data": True}}]
# Length of the JSON part, after which the numbers begin. Answers have it, too, but the number of rows says as much.
_HEAD_LENGTH: Final = "Inference-Header-Content-Length"
NOT_NUMBERS: Final = "gave values that are not numbers"
_GONE: Final = (b"unknown model", b"not at ready state")  # the second one of a version that was there once


@dataclass(frozen=True, slots=True, eq=False)
class ScoreQuery:
    """One list's inputs, and which version of which model is to score them."""

    inputs: features.ModelInputs
    version: int
    model: str  # its name in Triton


@dataclass(frozen=True, slots=True, eq=False)
class EncoderQuery:
    """One user's inputs of an encoder."""

    inputs: channels.Arrays  # by name, (1, n) each
    model: str  # its name in Triton
    dims: int  # of the vector


class TritonScores(http.HttpClient[ScoreQuery, features.Float32]):
    """One list's inputs -> (n,) scores, in requests of at most `wire.MAX_BATCH` rows, one after the other."""

    service: ClassVar[str] = "triton"
    gone = "does not serve the model of this release"

    def _call(self, query: ScoreQuery) -> features.Float32:
        whole, starts = query.inputs, range(0, len(query.inputs), wire.MAX_BATCH)
        slices = [replace(whole, rows=whole.rows[at : at + wire.MAX_BATCH]) for at in starts]
        parts = [self.infer(query.model, query.version, part.by_name, len(part), 1) for part in slices]
        if not parts:
            return np.empty(0, np.float32)
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def infer(
        self, model: str, version: int, inputs: Mapping[str, NDArray[Any]], rows: int, columns: int
    ) -> features.Float32:
        """The model's output, (rows x columns,)."""
        # The body is JSON, and the numbers that follow it
        types = {name: _TYPES[values.dtype.kind] for name, values in inputs.items()}
        tensors = {name: values.astype(types[name][1], copy=False).tobytes() for name, values in inputs.items()}
        described = [
            {"name": name, "datatype": types[name][0], "shape": inputs[name].shape,
             "parameters": {"binary_data_size": len(numbers)}}
            for name, numbers in tensors.items()
        ]  # fmt: skip
        head = orjson.dumps({"inputs": described, "outputs": _WANTED})
        path = f"/v2/models/{model}/versions/{version}/infer"
        answer = self.http.post(path, b"".join((head, *tensors.values())), f"{_HEAD_LENGTH}: {len(head)}")
        if answer.status != HTTPStatus.OK:
            if any(why in answer.body for why in _GONE):
                raise base.GoneError(self.service, self.gone)
            raise base.ServiceError(self.service, f"answered with status {answer.status}")
        size = _BYTES * rows * columns
        outputs = orjson.loads(answer.body[:-size])["outputs"]
        found = [(each["name"], each["datatype"], each["shape"], each["parameters"]) for each in outputs]
        # A Python backend with an incompatible numpy answers with an empty tensor and no error.
        if found != [(wire.MODEL_OUTPUT, _FLOAT, [rows, columns], {"binary_data_size": size})]:
            raise base.ServiceError(self.service, f"gave {found} for {rows} rows")
        numbers = np.frombuffer(answer.body[-size:], dtype="<f4")
        if not np.isfinite(numbers).all():
            raise base.StoredError(self.service, NOT_NUMBERS)  # the model's fault: other releases' models are healthy
        return numbers

    def _ping(self) -> str:
        # Live, not "ready": that is false while any version is being unloaded, though the live release's answers.
        for path in ("/v2/health/live", "/v2"):
            answer = self.http.get(path)
            if answer.status != HTTPStatus.OK:
                raise base.ServiceError(self.service, f"answered {path} with status {answer.status}")
        return str(orjson.loads(answer.body)["version"])


class TritonVectors(base.Client[EncoderQuery, features.Float32]):
    """One user's inputs of an encoder -> the vector (dims,), over the connections of `TritonScores`."""

    service: ClassVar[str] = "triton"

    def __init__(self, scores: TritonScores) -> None:
        super().__init__(scores.timeout_s)
        self._scores = scores

    def _call(self, query: EncoderQuery) -> features.Float32:
        return self._scores.infer(query.model, 1, query.inputs, 1, query.dims)

    def _ping(self) -> str:
        return self._scores.ping()

    def close(self) -> None:
        """They are closed with `TritonScores`."""
