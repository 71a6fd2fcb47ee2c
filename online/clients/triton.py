"""Triton: scores of the ranking model over gRPC."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
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
    ("grpc.use_local_subchannel_pool", 1),  # a new channel is a new connection
]
_RENEWED_S = 0.5  # a channel on which a call ran out of time is replaced when it is older than that


@dataclass(frozen=True, slots=True, eq=False)
class ScoreQuery:
    """Encoded rows, and which version of which model is to score them."""

    rows: NDArray[np.float32]  # (n, FeatureSpec.width)
    version: int
    model: str  # its name in Triton


class _Channel:
    """A connection to Triton that is made anew when it no longer answers.

    A connection can go silent: accepted, never answered, never ended, as behind a firewall that forgets. gRPC would
    keep it, and Triton's servers punish pings that ask often enough. So the first call that runs out of time ends it.
    """

    def __init__(self, address: str, keep_s: float) -> None:
        """``keep_s``: how long a replaced connection stays open for the calls that are still on it."""
        self._address = address
        self._keep_s = keep_s
        self._lock = threading.Lock()
        self._retired: deque[tuple[float, triton.InferenceServerClient]] = deque()
        self._connect()

    def _connect(self) -> None:
        self._made_at = time.monotonic()
        self.client = triton.InferenceServerClient(self._address, channel_args=_CHANNEL)

    def renew(self, silent: triton.InferenceServerClient) -> None:
        """Replace the connection, unless another thread has done so or it is very young."""
        now = time.monotonic()
        with self._lock:
            while self._retired and self._retired[0][0] + self._keep_s < now:
                self._retired.popleft()[1].close()
            if self.client is silent and now - self._made_at >= _RENEWED_S:
                self._retired.append((now, silent))
                self._connect()

    def close(self) -> None:
        for client in (*(client for _, client in self._retired), self.client):
            client.close()


class TritonScores(Client[ScoreQuery, NDArray[np.float32]]):
    """(n, width) rows -> (n,) probabilities, in requests of at most `wire.MAX_BATCH` rows, all in flight at once."""

    service: ClassVar[str] = "triton"
    library_errors: ClassVar[tuple[type[Exception], ...]] = (InferenceServerException, grpc.RpcError)

    def __init__(self, settings: TritonSettings) -> None:
        self.timeout_s = settings.timeout_s
        self._channel = _Channel(settings.grpc_address, settings.timeout_s)
        self._outputs = [triton.InferRequestedOutput(wire.MODEL_OUTPUT)]

    @contextmanager
    def _connected(self) -> Iterator[triton.InferenceServerClient]:
        client = self._channel.client
        try:
            yield client
        except self.library_errors as error:
            if "DEADLINE_EXCEEDED" in _status(error):
                self._channel.renew(client)
            raise

    def _call(self, query: ScoreQuery) -> NDArray[np.float32]:
        rows = np.ascontiguousarray(query.rows, dtype=np.float32)
        batches = [rows[start : start + wire.MAX_BATCH] for start in range(0, len(rows), wire.MAX_BATCH)]
        if not batches:
            return np.empty(0, np.float32)
        with self._connected() as client:
            if len(batches) == 1:
                return self._scores(client.infer(**self._request(rows, query)), len(rows))
            flights = [self._start(client, batch, query) for batch in batches]
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
            "client_timeout": self._left_s(),
        }

    def _start(self, client: triton.InferenceServerClient, rows: NDArray[np.float32], query: ScoreQuery) -> Future[Any]:
        flight: Future[Any] = Future()

        def land(result: Any, error: Exception | None) -> None:
            if error is None:
                flight.set_result(result)
            else:
                flight.set_exception(error)

        client.async_infer(callback=land, **self._request(rows, query))
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
        with self._connected() as client:
            # Live, not "ready": that is false while any version is being unloaded, though the live release's answers.
            if not client.is_server_live(client_timeout=self._left_s()):
                raise self._wrong("is up, but not live")
            return str(client.get_server_metadata(client_timeout=self._left_s()).version)

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
        self._channel.close()


def _status(error: Exception) -> str:
    return str(getattr(error, "status", lambda: "")() or "")
