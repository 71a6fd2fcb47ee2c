"""Triton: scores of the ranking model over gRPC."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

import grpc
import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2 as protocol
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from data_exchange_center import wire
from data_exchange_center.features import ModelInputs
from data_exchange_center.settings import TritonSettings
from online.clients.base import Client
from online.clients.deadline import FAIR_S

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
_FLOAT = "FP32"
_HURRIED = 2  # calls in a row after which a connection is silent, though each had little time
_RENEWED_S = 0.5  # a channel on which a call ran out of time is replaced when it is older than that


@dataclass(frozen=True, slots=True, eq=False)
class ScoreQuery:
    """One list's inputs, and which version of which model is to score them."""

    inputs: ModelInputs
    version: int
    model: str  # its name in Triton


class _Connection:
    """A gRPC channel, and Triton's methods on it."""

    def __init__(self, address: str) -> None:
        self._channel = grpc.insecure_channel(address, _CHANNEL)
        self.triton = GRPCInferenceServiceStub(self._channel)
        self.made_at = time.monotonic()
        self.unanswered = 0  # calls that ran out of time since the last answer

    def close(self) -> None:
        self._channel.close()


class _Renewed:
    """A connection to Triton that is made anew when it no longer answers.

    A connection can go silent: accepted, never answered, never ended, as behind a firewall that forgets. gRPC would
    keep it, and Triton's servers punish pings that ask often enough. So it ends with a call that runs out of time, or
    with the second one in a row if they had too little to say something of the connection.
    """

    def __init__(self, address: str, keep_s: float) -> None:
        """``keep_s``: how long a replaced connection stays open for the calls that are still on it."""
        self._address = address
        self._keep_s = keep_s
        self._lock = threading.Lock()
        self._retired: deque[tuple[float, _Connection]] = deque()
        self.current = _Connection(address)

    def answered(self, connection: _Connection) -> None:
        connection.unanswered = 0
        if self._retired:
            with self._lock:
                self._close_retired()

    def ran_out(self, connection: _Connection, had_s: float) -> None:
        """A call that had so long got no answer: replace the connection, unless it is very young or another one is."""
        with self._lock:
            self._close_retired()
            connection.unanswered += 1
            silent = had_s >= FAIR_S or connection.unanswered >= _HURRIED
            now = time.monotonic()
            if silent and self.current is connection and now - connection.made_at >= _RENEWED_S:
                self._retired.append((now, connection))
                self.current = _Connection(self._address)

    def _close_retired(self) -> None:
        now = time.monotonic()
        while self._retired and self._retired[0][0] + self._keep_s < now:
            self._retired.popleft()[1].close()

    def close(self) -> None:
        for connection in (*(connection for _, connection in self._retired), self.current):
            connection.close()


class TritonScores(Client[ScoreQuery, NDArray[np.float32]]):
    """One list's inputs -> (n,) probabilities, in requests of at most `wire.MAX_BATCH` rows, all in flight at once.

    Speaks the protocol's own messages: the client of `tritonclient` takes them from there as well, with work and copies
    around them.
    """

    service: ClassVar[str] = "triton"
    library_errors: ClassVar[tuple[type[Exception], ...]] = (grpc.RpcError,)

    def __init__(self, settings: TritonSettings) -> None:
        self.timeout_s = settings.timeout_s
        self._renewed = _Renewed(settings.grpc_address, settings.timeout_s)

    @contextmanager
    def _connected(self) -> Iterator[GRPCInferenceServiceStub]:
        connection, had_s = self._renewed.current, self._left_s()
        try:
            yield connection.triton
        except self.library_errors as error:
            if _status(error) is grpc.StatusCode.DEADLINE_EXCEEDED:
                self._renewed.ran_out(connection, had_s)
            raise
        self._renewed.answered(connection)

    def _call(self, query: ScoreQuery) -> NDArray[np.float32]:
        requests = [_request(query, start) for start in range(0, len(query.inputs), wire.MAX_BATCH)]
        if not requests:
            return np.empty(0, np.float32)
        with self._connected() as triton:
            if len(requests) == 1:
                return self._scores(triton.ModelInfer(requests[0], timeout=self._left_s()), requests[0])
            flights = [triton.ModelInfer.future(request, timeout=self._left_s()) for request in requests]
            try:
                pairs = zip(flights, requests, strict=True)
                return np.concatenate([self._scores(flight.result(), request) for flight, request in pairs])
            finally:
                for flight in flights:  # those that are still on their way when one has failed
                    flight.cancel()

    def _scores(self, answer: protocol.ModelInferResponse, request: protocol.ModelInferRequest) -> NDArray[np.float32]:
        rows = request.inputs[0].shape[0]
        found = [(output.name, output.datatype, [*output.shape]) for output in answer.outputs]
        raw = b"".join(answer.raw_output_contents)
        # A Python backend with an incompatible numpy answers with an empty tensor and no error.
        if found != [(wire.MODEL_OUTPUT, _FLOAT, [rows, 1])] or len(raw) != 4 * rows:
            raise self._wrong(f"gave {found} in {len(raw)} bytes for {rows} rows")
        scores = np.frombuffer(raw, dtype="<f4")
        if not np.isfinite(scores).all():
            raise self._wrong("gave scores that are not numbers")
        return scores

    def _ping(self) -> str:
        with self._connected() as triton:
            # Live, not "ready": that is false while any version is being unloaded, though the live release's answers.
            if not triton.ServerLive(protocol.ServerLiveRequest(), timeout=self._left_s()).live:
                raise self._wrong("is up, but not live")
            metadata = triton.ServerMetadata(protocol.ServerMetadataRequest(), timeout=self._left_s())
            return str(metadata.version)

    def _is_gone(self, error: Exception) -> bool:
        # A version that was there once is not "not found" but "not at ready state", as gRPC's UNAVAILABLE.
        return _status(error) is grpc.StatusCode.NOT_FOUND or "not at ready state" in str(error)

    def _explain(self, error: Exception) -> str:
        if self._is_gone(error):
            return "does not serve the model of this release"
        status = _status(error)
        if status in (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE):
            return "cannot be reached, or did not answer in time"
        return f"answered with an error ({status or type(error).__name__})"

    def close(self) -> None:
        self._renewed.close()


def _request(query: ScoreQuery, start: int) -> protocol.ModelInferRequest:
    """For the rows from ``start`` on, at most `wire.MAX_BATCH`."""
    request = protocol.ModelInferRequest(model_name=query.model, model_version=str(query.version))
    for name, values in query.inputs.part(slice(start, start + wire.MAX_BATCH)).by_name.items():
        request.inputs.add(name=name, datatype=_FLOAT, shape=values.shape)
        request.raw_input_contents.append(values.astype("<f4", copy=False).tobytes())
    return request


def _status(error: Exception) -> grpc.StatusCode | None:
    return error.code() if isinstance(error, grpc.Call) else None
