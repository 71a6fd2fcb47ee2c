from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from gevent import monkey

from data_exchange_center import wire
from data_exchange_center.features import ModelInputs
from data_exchange_center.settings import TritonSettings
from online.clients.base import GoneError, ServiceError
from online.clients.triton import EncoderQuery, ScoreQuery, TritonScores, TritonVectors
from tests.http_server import serving

ROWS = 3
SCORES = np.array([0.5, 0.25, 0.125], "<f4")


JSON_LENGTH = "Inference-Header-Content-Length"
Answer = tuple[bytes, dict[str, str]]


def answer(scores: Any = SCORES, **changed: Any) -> Answer:
    """Scores as Triton sends them, body and headers; ``changed``: what it says of them."""
    numbers = np.asarray(scores, "<f4").tobytes()
    size = changed.pop("size", len(numbers))
    output = {
        "name": wire.MODEL_OUTPUT,
        "datatype": "FP32",
        "shape": [ROWS, 1],
        **changed,
    }
    described = json.dumps(
        {"outputs": [{**output, "parameters": {"binary_data_size": size}}]}
    ).encode()
    return described + numbers, {JSON_LENGTH: str(len(described))}


@pytest.fixture
def triton() -> Iterator[tuple[SimpleNamespace, TritonScores]]:
    """It gives the configured answer. Requests: path, the request's JSON, bytes of numbers."""
    reported = SimpleNamespace(status=200, answer=answer(), requested=[])

    def infer(request: Any, body: bytes) -> tuple[int, bytes, dict[str, str]]:
        head = int(request.headers[JSON_LENGTH])
        reported.requested.append(
            (request.path, json.loads(body[:head]), len(body) - head)
        )
        return reported.status, *reported.answer

    with (
        serving(infer) as port,
        closing(TritonScores(TritonSettings(http_port=port, timeout_s=10))) as client,
    ):
        yield reported, client


def query(rows: int = ROWS) -> ScoreQuery:
    return ScoreQuery(
        ModelInputs(np.zeros((rows, 5), np.float32), np.zeros((1, 20, 3), np.float32)),
        7,
        "ml_rec",
    )


def test_numbers_are_sent_and_read_as_they_are(
    triton: tuple[SimpleNamespace, TritonScores],
) -> None:
    reported, client = triton
    assert client.call(query()).tolist() == SCORES.tolist()
    ((path, head, size),) = reported.requested
    assert path == "/v2/models/ml_rec/versions/7/infer"
    assert size == 4 * (ROWS * 5 + 60)
    assert [(each["name"], each["shape"]) for each in head["inputs"]] == [
        (wire.MODEL_INPUT, [ROWS, 5]),
        (wire.MODEL_HISTORY, [1, 20, 3]),
    ]
    assert head["outputs"] == [
        {"name": wire.MODEL_OUTPUT, "parameters": {"binary_data": True}}
    ]


@pytest.mark.parametrize(
    "malformed",
    [
        answer([]),
        answer([], shape=[0]),
        answer([0.5, 0.25]),
        answer([0.5, 0.25, float("nan")]),
        answer(name="others"),
        answer(datatype="FP64"),
        answer(datatype="BYTES"),
        answer(shape=[1, ROWS]),
        answer(size=4),
        answer(size="12"),
        (answer()[0], {}),
        (answer()[0], {JSON_LENGTH: "9999"}),
        (answer()[0], {JSON_LENGTH: "many"}),
        (b"{}", {JSON_LENGTH: "2"}),
        (b"[]", {JSON_LENGTH: "2"}),
        (b"\xff" * 12, {JSON_LENGTH: "12"}),
        (b"", {}),
    ],
)
def test_a_malformed_score_list_is_an_error(
    triton: tuple[SimpleNamespace, TritonScores], malformed: Answer
) -> None:
    reported, client = triton
    reported.answer = malformed
    with pytest.raises(ServiceError) as raised:
        client.call(query())
    assert raised.value.service == "triton"


@pytest.mark.parametrize(
    ("status", "problem", "gone"),
    [
        (404, "Request for unknown model: 'ml_rec' version 7 is not found", True),
        (
            503,
            "Request for unknown model: 'ml_rec' version 7 is not at ready state",
            True,
        ),
        (500, "broken", False),
    ],
)
def test_a_missing_model_has_its_own_error(
    triton: tuple[SimpleNamespace, TritonScores], status: int, problem: str, gone: bool
) -> None:
    reported, client = triton
    reported.status, reported.answer = (
        status,
        (json.dumps({"error": problem}).encode(), {}),
    )
    with pytest.raises(ServiceError) as raised:
        client.call(query())
    assert isinstance(raised.value, GoneError) == gone


@pytest.mark.parametrize("folder", ["s", "s" * 120], ids=["short", "long"])
def test_a_triton_on_a_unix_socket_answers(tmp_path: Path, folder: str) -> None:
    place = tmp_path / folder
    place.mkdir()
    with closing(TritonScores(TritonSettings(socket_dir=place))) as client:
        with pytest.raises(ServiceError, match="cannot be reached"):
            client.call(query())
        with serving(lambda *_: (200, *answer()), socket_in=place) as _:
            assert client.call(query()).tolist() == SCORES.tolist()


def test_a_long_list_is_scored_in_parts(
    triton: tuple[SimpleNamespace, TritonScores],
) -> None:
    reported, client = triton
    reported.answer = answer([])
    assert client.call(query(0)).shape == (0,)
    assert not reported.requested
    reported.answer = answer(np.zeros(wire.MAX_BATCH), shape=[wire.MAX_BATCH, 1])
    assert client.call(query(2 * wire.MAX_BATCH)).shape == (2 * wire.MAX_BATCH,)
    assert len(reported.requested) == 2


def test_tritonclient_leaves_threads_and_sockets_as_they_are() -> None:
    """It imports gevent, which can replace those of the standard library."""
    assert not monkey.saved


def test_an_encoder_is_sent_whole_numbers_and_gives_a_vector() -> None:
    requested, vector = [], np.array([1, 2.5, -3], "<f4")

    def infer(request: Any, body: bytes) -> tuple[int, bytes, dict[str, str]]:
        head = int(request.headers[JSON_LENGTH])
        requested.append(
            (
                request.path,
                json.loads(body[:head])["inputs"],
                np.frombuffer(body[head:], "<i8").tolist(),
            )
        )
        return 200, *answer(vector, shape=[1, 3])

    with (
        serving(infer) as port,
        closing(TritonScores(TritonSettings(http_port=port, timeout_s=10))) as scores,
    ):
        client = TritonVectors(scores)
        found = client.call(
            EncoderQuery({"items": np.array([[0, 5, 7]])}, "ml_encoder_sasrec-abc", 3)
        )
        assert found.tolist() == vector.tolist()
        with pytest.raises(ServiceError):
            client.call(
                EncoderQuery(
                    {"items": np.array([[0, 5, 7]])}, "ml_encoder_sasrec-abc", 4
                )
            )
    path, (given,), numbers = requested[0]
    assert path == "/v2/models/ml_encoder_sasrec-abc/versions/1/infer"
    assert (given["name"], given["datatype"], given["shape"]) == (
        "items",
        "INT64",
        [1, 3],
    )
    assert numbers == [0, 5, 7]
