"""Triton: scores of the ranking model, over HTTP with its extension for binary tensors.

Over gRPC, which Triton speaks as well, a call costs the caller two and a half times the processor time.
"""

from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import ClassVar, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from data_exchange_center import features, wire
from data_exchange_center.settings import TritonSettings
from online.clients import base, http

_FLOAT: Final = "FP32"
_BYTES: Final = 4  # of such a number
_WANTED: Final = [{"name": wire.MODEL_OUTPUT, "parameters": {"binary_data": True}}]
# Length of the JSON part, after which the numbers begin. Answers have it, too, but the number of rows says as much.
_HEAD_LENGTH: Final = "Inference-Header-Content-Length"
NOT_NUMBERS: Final = "gave scores that are not numbers"
_GONE: Final = (b"unknown model", b"not at ready state")  # the second one of a version that was there once


@dataclass(frozen=True, slots=True, eq=False)
class ScoreQuery:
    """One list's inputs, and which version of which model is to score them."""

    inputs: features.ModelInputs
    version: int
    model: str  # its name in Triton


class TritonScores(http.HttpClient[ScoreQuery, NDArray[np.float32]]):
    """One list's inputs -> (n,) scores, in requests of at most `wire.MAX_BATCH` rows, one after the other."""

    service: ClassVar[str] = "triton"
    gone = "does not serve the model of this release"

    def __init__(self, settings: TritonSettings, *urls: str) -> None:
        """``urls``: Tritons, if not those of the settings."""
        super().__init__(http.Http(*(urls or settings.urls), timeout_s=settings.timeout_s), settings.timeout_s)

    def _call(self, query: ScoreQuery) -> NDArray[np.float32]:
        whole, starts = query.inputs, range(0, len(query.inputs), wire.MAX_BATCH)
        parts = [self._part(query, replace(whole, rows=whole.rows[at : at + wire.MAX_BATCH])) for at in starts]
        if not parts:
            return np.empty(0, np.float32)
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _part(self, query: ScoreQuery, inputs: features.ModelInputs) -> NDArray[np.float32]:
        # The body is JSON, and the numbers that follow it
        tensors = {name: values.astype("<f4", copy=False).tobytes() for name, values in inputs.by_name.items()}
        described = [
            {"name": name, "datatype": _FLOAT, "shape": inputs.by_name[name].shape,
             "parameters": {"binary_data_size": len(numbers)}}
            for name, numbers in tensors.items()
        ]  # fmt: skip
        head = orjson.dumps({"inputs": described, "outputs": _WANTED})
        path = f"/v2/models/{query.model}/versions/{query.version}/infer"
        answer = self.http.post(path, b"".join((head, *tensors.values())), f"{_HEAD_LENGTH}: {len(head)}")
        if answer.status != HTTPStatus.OK:
            if any(why in answer.body for why in _GONE):
                raise base.GoneError(self.service, self.gone)
            raise base.ServiceError(self.service, f"answered with status {answer.status}")
        return self._scores(answer.body, len(inputs))

    def _scores(self, body: bytes, rows: int) -> NDArray[np.float32]:
        size = _BYTES * rows
        outputs = orjson.loads(body[:-size])["outputs"]
        found = [(each["name"], each["datatype"], each["shape"], each["parameters"]) for each in outputs]
        # A Python backend with an incompatible numpy answers with an empty tensor and no error.
        if found != [(wire.MODEL_OUTPUT, _FLOAT, [rows, 1], {"binary_data_size": size})]:
            raise base.ServiceError(self.service, f"gave {found} for {rows} rows")
        scores = np.frombuffer(body[-size:], dtype="<f4")
        if not np.isfinite(scores).all():
            raise base.StoredError(self.service, NOT_NUMBERS)  # the model's fault: other releases' models are healthy
        return scores

    def _ping(self) -> str:
        # Live, not "ready": that is false while any version is being unloaded, though the live release's answers.
        for path in ("/v2/health/live", "/v2"):
            answer = self.http.get(path)
            if answer.status != HTTPStatus.OK:
                raise base.ServiceError(self.service, f"answered {path} with status {answer.status}")
        return str(orjson.loads(answer.body)["version"])
