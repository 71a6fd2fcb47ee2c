"""When the connection to Triton is made anew, and what becomes of a list's other parts when one fails."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import grpc
import numpy as np
import pytest
from tritonclient.grpc.service_pb2 import ModelInferRequest, ModelInferResponse
from tritonclient.grpc.service_pb2_grpc import (
    GRPCInferenceServiceServicer,
    add_GRPCInferenceServiceServicer_to_server,
)

from data_exchange_center import wire
from data_exchange_center.features import ModelInputs
from data_exchange_center.settings import TritonSettings
from online.clients import triton
from online.clients.base import ServiceError
from online.clients.deadline import FAIR_S, Deadline
from online.clients.triton import ScoreQuery, TritonScores

HURRIED_S = FAIR_S / 2


def query(rows: int) -> ScoreQuery:
    return ScoreQuery(ModelInputs(np.zeros((rows, 3), np.float32)), 1, "ml_rec")


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[TritonScores]:
    """A client whose Triton takes connections and says nothing, whatever their age."""
    monkeypatch.setattr(triton, "_RENEWED_S", 0.0)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        settings = TritonSettings(grpc_port=listener.getsockname()[1], timeout_s=5.0)
        with closing(TritonScores(settings)) as client:
            yield client


def run_out(client: TritonScores, seconds: float) -> None:
    with pytest.raises(ServiceError):
        client.call(query(1), Deadline.after(seconds))


def test_a_call_that_had_enough_time_and_no_answer_ends_the_connection(silent: TritonScores) -> None:
    before = silent._renewed.current
    run_out(silent, 4 * FAIR_S)
    assert silent._renewed.current is not before


def test_one_call_in_a_hurry_leaves_the_connection_to_the_others_and_two_do_not(silent: TritonScores) -> None:
    before = silent._renewed.current
    run_out(silent, HURRIED_S)
    assert silent._renewed.current is before
    run_out(silent, HURRIED_S)
    assert silent._renewed.current is not before


def test_an_answer_in_between_says_that_the_connection_is_well(silent: TritonScores) -> None:
    before = silent._renewed.current
    run_out(silent, HURRIED_S)
    silent._renewed.answered(before)
    run_out(silent, HURRIED_S)
    assert silent._renewed.current is before


def test_a_replaced_connection_is_closed_with_an_answer_on_the_new_one(silent: TritonScores) -> None:
    renewed = silent._renewed
    run_out(silent, 4 * FAIR_S)
    assert len(renewed._retired) == 1
    renewed.answered(renewed.current)
    assert len(renewed._retired) == 1, "calls may still be on it"
    renewed._keep_s = 0.0
    renewed.answered(renewed.current)
    assert not renewed._retired


class OnePartFails(GRPCInferenceServiceServicer):
    """Refuses the larger part of a list once the smaller one is there, which it never answers."""

    def __init__(self) -> None:
        self.arrived, self.ended = threading.Event(), threading.Event()

    def ModelInfer(  # noqa: N802
        self, request: ModelInferRequest, context: grpc.ServicerContext
    ) -> ModelInferResponse:
        if request.inputs[0].shape[0] == wire.MAX_BATCH:
            self.arrived.wait(10)
            context.abort(grpc.StatusCode.INTERNAL, "broken")
        context.add_callback(self.ended.set)
        self.arrived.set()
        self.ended.wait(10)
        return ModelInferResponse()


def test_when_one_part_of_a_list_fails_the_others_are_not_left_on_their_way() -> None:
    service = OnePartFails()
    server = grpc.server(ThreadPoolExecutor(4))
    add_GRPCInferenceServiceServicer_to_server(service, server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with closing(TritonScores(TritonSettings(grpc_port=port, timeout_s=60.0))) as client:
            with pytest.raises(ServiceError):
                client.call(query(wire.MAX_BATCH + 1))
            assert service.ended.wait(10)
    finally:
        server.stop(0).wait()
