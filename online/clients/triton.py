"""Triton: scores of the ranking model and user vectors of encoders, over HTTP with its extension for binary tensors.

tritonclient makes the bodies of requests and reads those of answers. The transport is `online.clients.http`:
tritonclient's own cannot connect to a Unix socket and has no deadline for a whole call. Over gRPC, which Triton speaks
as well, a call costs the caller two and a half times the processor time.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any, ClassVar, Final

import numpy as np
import orjson
from numpy.typing import NDArray
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import np_to_triton_dtype

from data_exchange_center import channels, features, wire
from online.clients import base, http

_FLOAT: Final = np_to_triton_dtype(np.float32)
_WANTED: Final = [InferRequestedOutput(wire.MODEL_OUTPUT)]
_JSON_LENGTH: Final = "Inference-Header-Content-Length"  # of a body: its JSON part, after which the numbers begin
NOT_NUMBERS: Final = "gave values that are not numbers"
_GONE: Final = (
    b"unknown model",
    b"not at ready state",
)  # the second one of a version that was there once


@dataclass(frozen=True, slots=True, eq=False)
class ScoreQuery:
    """One list's inputs, and which version of which model is to score them."""

    inputs: features.ModelInputs
    version: int
    model: str  # its name in Triton
    # of the model's outputs in the score
    weights: tuple[float, ...] = (1.0,)


@dataclass(frozen=True, slots=True, eq=False)
class EncoderQuery:
    """One user's inputs of an encoder."""

    inputs: channels.Arrays  # by name, (1, n) each
    model: str  # its name in Triton
    dims: int  # of the vector


class TritonScores(http.HttpClient[ScoreQuery | EncoderQuery, features.Float32]):
    """One list's inputs -> (n,) scores, in requests of at most `wire.MAX_BATCH` rows, one after the other.

    One user's inputs of an encoder -> the vector, (dims,).
    """

    service: ClassVar[str] = "triton"
    gone = "does not serve the model of this release"

    def _call(self, query: ScoreQuery | EncoderQuery) -> features.Float32:
        if isinstance(query, EncoderQuery):
            return self.infer(query.model, 1, query.inputs, 1, query.dims)
        rows, n = query.inputs.rows, len(query.weights)
        outputs = [np.empty(0, np.float32)]
        for at in range(0, len(rows), wire.MAX_BATCH):
            some = rows[at : at + wire.MAX_BATCH]
            inputs = replace(query.inputs, rows=some).by_name
            found = self.infer(query.model, query.version, inputs, len(some), n)
            outputs.append(found)
        return features.weighted(np.concatenate(outputs).reshape(-1, n), query.weights)

    def infer(
        self,
        model: str,
        version: int,
        inputs: Mapping[str, NDArray[Any]],
        rows: int,
        columns: int,
    ) -> features.Float32:
        """The model's output, (rows x columns,)."""
        tensors = []
        for name, values in inputs.items():
            kind = np_to_triton_dtype(values.dtype)
            tensor = InferInput(name, values.shape, kind)
            tensors.append(tensor.set_data_from_numpy(values))
        body, json_length = InferenceServerClient.generate_request_body(
            tensors, _WANTED
        )
        path = f"/v2/models/{model}/versions/{version}/infer"
        answer = self.http.post(path, body, f"{_JSON_LENGTH}: {json_length}")
        if answer.status != HTTPStatus.OK:
            if any(why in answer.body for why in _GONE):
                raise base.GoneError(self.service, self.gone)
            raise base.ServiceError(
                self.service, f"answered with status {answer.status}"
            )
        read = InferenceServerClient.parse_response_body
        result = read(answer.body, header_length=answer.header(_JSON_LENGTH))
        output = result.get_output(wire.MODEL_OUTPUT)
        # A Python backend with an incompatible numpy answers with an empty tensor and no error.
        if (
            output is None
            or output["datatype"] != _FLOAT
            or output["shape"] != [rows, columns]
        ):
            raise base.ServiceError(self.service, f"gave {output} for {rows} rows")
        numbers: features.Float32 = result.as_numpy(wire.MODEL_OUTPUT).ravel()
        if not np.isfinite(numbers).all():
            # the model's fault: other releases' models are healthy
            raise base.StoredError(self.service, NOT_NUMBERS)
        return numbers

    def _ping(self) -> str:
        # Live, not "ready": that is false while any version is being unloaded, though the live release's answers.
        for path in ("/v2/health/live", "/v2"):
            answer = self.http.get(path)
            if answer.status != HTTPStatus.OK:
                raise base.ServiceError(
                    self.service, f"answered {path} with status {answer.status}"
                )
        return str(orjson.loads(answer.body)["version"])
