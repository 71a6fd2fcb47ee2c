import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gevent import monkey

from data_exchange_center import wire
from data_exchange_center.features import ModelInputs
from data_exchange_center.settings import TritonSettings
from online.clients.base import GoneError, ServiceError
from online.clients.triton import EncoderQuery, ScoreQuery, TritonScores
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


@dataclass
class Triton:
    """It gives the configured answer. ``requested``: path, the request's JSON, bytes of numbers."""

    client: TritonScores
    status: int = 200
    answer: Answer = field(default_factory=answer)
    requested: list[tuple[str, Any, bytes]] = field(default_factory=list)


@pytest.fixture
def triton() -> Iterator[Triton]:
    def infer(request: Any, body: bytes) -> tuple[int, bytes, dict[str, str]]:
        head = int(request.headers[JSON_LENGTH])
        triton.requested.append((request.path, json.loads(body[:head]), body[head:]))
        return triton.status, *triton.answer

    with (
        serving(infer) as port,
        closing(TritonScores(TritonSettings(http_port=port, timeout_s=10))) as client,
    ):
        triton = Triton(client)
        yield triton


def query(rows: int = ROWS) -> ScoreQuery:
    events, history = np.zeros((rows, 5), np.float32), np.zeros((1, 20, 3), np.float32)
    return ScoreQuery(ModelInputs(events, history), 7, "ml_rec")


def described(tensors: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [(each["name"], each["datatype"], each["shape"]) for each in tensors]


def test_numbers_are_sent_and_read_as_they_are(triton: Triton) -> None:
    assert triton.client.call(query()).tolist() == SCORES.tolist()
    ((path, head, numbers),) = triton.requested
    assert path == "/v2/models/ml_rec/versions/7/infer"
    assert len(numbers) == 4 * (ROWS * 5 + 60)
    assert described(head["inputs"]) == [
        (wire.MODEL_INPUT, "FP32", [ROWS, 5]),
        (wire.MODEL_HISTORY, "FP32", [1, 20, 3]),
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
def test_a_malformed_score_list_is_an_error(triton: Triton, malformed: Answer) -> None:
    triton.answer = malformed
    with pytest.raises(ServiceError) as raised:
        triton.client.call(query())
    assert raised.value.service == "triton"


@pytest.mark.parametrize(
    ("status", "problem", "error"),
    [
        (404, "unknown model: 'ml_rec' version 7 is not found", GoneError),
        (503, "unknown model: 'ml_rec' version 7 is not at ready state", GoneError),
        (500, "broken", ServiceError),
    ],
)
def test_a_missing_model_has_its_own_error(
    triton: Triton, status: int, problem: str, error: type[ServiceError]
) -> None:
    said = json.dumps({"error": f"Request for {problem}"}).encode()
    triton.status, triton.answer = status, (said, {})
    with pytest.raises(ServiceError) as raised:
        triton.client.call(query())
    assert type(raised.value) is error


@pytest.mark.parametrize("folder", ["s", "s" * 120], ids=["short", "long"])
def test_a_triton_on_a_unix_socket_answers(tmp_path: Path, folder: str) -> None:
    place = tmp_path / folder
    place.mkdir()
    with closing(TritonScores(TritonSettings(socket_dir=place))) as client:
        with pytest.raises(ServiceError, match="cannot be reached"):
            client.call(query())
        with serving(lambda *_: (200, *answer()), socket_in=place) as _:
            assert client.call(query()).tolist() == SCORES.tolist()


def test_a_long_list_is_scored_in_parts(triton: Triton) -> None:
    assert triton.client.call(query(0)).shape == (0,)
    assert not triton.requested
    triton.answer = answer(np.zeros(wire.MAX_BATCH), shape=[wire.MAX_BATCH, 1])
    whole = triton.client.call(query(2 * wire.MAX_BATCH))
    assert (whole.shape, len(triton.requested)) == ((2 * wire.MAX_BATCH,), 2)


def test_tritonclient_leaves_threads_and_sockets_as_they_are() -> None:
    """It imports gevent, which can replace those of the standard library."""
    assert not monkey.saved


def test_an_encoder_is_sent_whole_numbers_and_gives_a_vector(triton: Triton) -> None:
    vector = np.array([1, 2.5, -3], "<f4")
    triton.answer = answer(vector, shape=[1, 3])
    items = np.array([[0, 5, 7]])
    query = EncoderQuery({"items": items}, "ml_encoder_sasrec-abc", 3)
    assert triton.client.call(query).tolist() == vector.tolist()
    with pytest.raises(ServiceError):
        triton.client.call(replace(query, dims=4))
    path, head, numbers = triton.requested[0]
    assert path == "/v2/models/ml_encoder_sasrec-abc/versions/1/infer"
    assert described(head["inputs"]) == [("items", "INT64", [1, 3])]
    assert numbers == items.astype("<i8").tobytes()
