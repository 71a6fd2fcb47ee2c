"""Triton: scores of the ranking model over gRPC."""

from __future__ import annotations

import json
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, ClassVar

import grpc
import numpy as np
from numpy.typing import NDArray
from tritonclient import grpc as triton
from tritonclient.utils import InferenceServerException

from data_exchange_center import wire
from data_exchange_center.settings import TritonSettings
from online.clients.base import Client

# A request waits, within its timeout, while the connection is made again: the first request after Triton has come back
# succeeds. gRPC's own backoff would not try for up to two minutes.
_CHANNEL = [
    ("grpc.service_config", json.dumps({"methodConfig": [{"name": [{}], "waitForReady": True}]})),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 200),
    ("grpc.enable_http_proxy", 0),
]


@dataclass(frozen=True, slots=True, eq=False)
class ScoreQuery:
    """Encoded rows, and which version of which model is to score them."""

    rows: NDArray[np.float32]  # (n, FeatureSpec.width)
    version: int
    model: str  # its name in Triton


class TritonScores(Client[ScoreQuery, NDArray[np.float32]]):
    """(n, width) rows -> (n,) probabilities, in requests of at most `wire.MAX_BATCH` rows, all in flight at once."""

    service: ClassVar[str] = "triton"
    library_errors: ClassVar[tuple[type[Exception], ...]] = (InferenceServerException, grpc.RpcError)

    def __init__(self, settings: TritonSettings) -> None:
        self._timeout_s = settings.timeout_s
        self._client = triton.InferenceServerClient(settings.grpc_address, channel_args=_CHANNEL)
        self._outputs = [triton.InferRequestedOutput(wire.MODEL_OUTPUT)]

    def _call(self, query: ScoreQuery) -> NDArray[np.float32]:
        rows = np.ascontiguousarray(query.rows, dtype=np.float32)
        batches = [rows[start : start + wire.MAX_BATCH] for start in range(0, len(rows), wire.MAX_BATCH)]
        if not batches:
            return np.empty(0, np.float32)
        if len(batches) == 1:
            return self._scores(self._client.infer(**self._request(rows, query)), len(rows))
        flights = [self._start(batch, query) for batch in batches]
        return np.concatenate(
            [self._scores(flight.result(), len(batch)) for flight, batch in zip(flights, batches, strict=True)]
        )

    def _request(self, rows: NDArray[np.float32], query: ScoreQuery) -> dict[str, Any]:
        tensor = triton.InferInput(wire.MODEL_INPUT, list(rows.shape), "FP32")
        tensor.set_data_from_numpy(rows)
        return {
            "model_name": query.model,
            "model_version": str(query.version),
            "inputs": [tensor],
            "outputs": self._outputs,
            "client_timeout": self._timeout_s,
        }

    def _start(self, rows: NDArray[np.float32], query: ScoreQuery) -> Future[Any]:
        flight: Future[Any] = Future()

        def land(result: Any, error: Exception | None) -> None:
            if error is None:
                flight.set_result(result)
            else:
                flight.set_exception(error)

        self._client.async_infer(callback=land, **self._request(rows, query))
        return flight

    def _scores(self, result: Any, rows: int) -> NDArray[np.float32]:
        scores = result.as_numpy(wire.MODEL_OUTPUT)
        # A Python backend with an incompatible numpy answers with an empty tensor and no error.
        if scores is None or scores.shape != (rows, 1):
            raise self._wrong(f"gave {None if scores is None else scores.shape} scores for {rows} rows")
        flat: NDArray[np.float32] = scores[:, 0]
        if not np.isfinite(flat).all():
            raise self._wrong("gave scores that are not numbers")
        return flat

    def _ping(self) -> str:
        timeout = {"client_timeout": self._timeout_s}
        # Live, not "ready": that is false while any version is being unloaded, though the live release's answers.
        if not self._client.is_server_live(**timeout):
            raise self._wrong("is up, but not live")
        return str(self._client.get_server_metadata(**timeout).version)

    def _is_gone(self, error: Exception) -> bool:
        # A version that was there once is not "not found" but "not at ready state", as gRPC's UNAVAILABLE.
        return "NOT_FOUND" in _status(error) or "not at ready state" in str(error)

    def _explain(self, error: Exception) -> str:
        if self._is_gone(error):
            return "does not serve the model of this release"
        status = _status(error)
        if "DEADLINE_EXCEEDED" in status or "UNAVAILABLE" in status:
            return "cannot be reached, or did not answer in time"
        return f"answered with an error ({status or type(error).__name__})"

    def close(self) -> None:
        self._client.close()


def _status(error: Exception) -> str:
    return str(getattr(error, "status", lambda: "")() or "")
