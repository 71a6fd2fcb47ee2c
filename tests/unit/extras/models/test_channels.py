"""Encoders as channels."""

from __future__ import annotations

import numpy as np
import pytest

from data_exchange_center.channel_file import pack_channels, unpack_channels
from data_exchange_center.channels import ChannelSet, Requests
from data_exchange_center.history import History
from extras.models.encoder import Encoder, extend_to_query, session
from tests.unit.extras.models import bundles
from tests.unit.extras.models.bundles import DIMS, HISTORY

NOW = 10_000_000
RNG = np.random.default_rng(3)
EMBEDDING = np.vstack([np.zeros(DIMS), RNG.normal(size=(9, DIMS))])


def encoder(known: int = 9) -> Encoder:
    """An encoder of nine items, of which those after ``known`` are unknown to it."""
    codes = np.where(np.arange(10) <= known, np.arange(10), 0)
    proto = bundles.encoder(EMBEDDING)
    extend_to_query(proto, DIMS)
    content = np.frombuffer(proto.SerializeToString(), np.uint8)
    items = RNG.normal(size=(10, DIMS + 2)).astype(np.float32)
    return Encoder("mine", content, HISTORY, codes, items, codes > 0)


def requests(*histories: list[int]) -> Requests:
    """Requests of users with these items, newest first, an event a minute."""
    items = np.array([history + [0] * (8 - len(history)) for history in histories])
    times = np.where(items > 0, NOW - 60 * np.arange(1, 9), 0)
    lengths = np.array([len(history) for history in histories])
    profiles = np.zeros((len(items), 0), int)
    return Requests(items, items, times, lengths, profiles, np.full(len(items), NOW))


@pytest.mark.parametrize(
    ("known", "newest_first", "codes"),
    [
        (9, [4, 1], [1, 4]),
        (9, [9, 8, 7, 6, 5, 4, 3, 2], [4, 5, 6, 7, 8, 9]),
        (2, [9, 8, 7, 6, 5, 4, 2, 1], [1, 2]),
    ],
)
def test_user_vectors_are_of_the_newest_known_events(
    known: int, newest_first: list[int], codes: list[int]
) -> None:
    found = encoder(known).user_vectors(requests([], newest_first))
    expected = [*bundles.user_vector(EMBEDDING, np.array(codes)), 0, 0]
    np.testing.assert_allclose(found[1], expected, rtol=1e-5, atol=1e-6)
    assert np.isnan(found[0]).all()


def test_a_server_holds_no_model_and_gives_inputs_alone() -> None:
    one = encoder()
    whole = unpack_channels(pack_channels(ChannelSet(np.arange(101, 110), (one,))))
    held = whole.without_encoders()
    assert len(held.encoded[0].onnx) == 0
    assert held.encoded[0].onnx.base is None  # the model's memory is freed
    ids, times = np.array([103, 101]), np.array([NOW - 1, NOW - 2])
    history = History(ids, np.array([1, 1]), times)
    nothing = np.zeros(0, np.int32)
    assert held.query_vectors(history, nothing, NOW) == {}
    (tensors,) = held.encoder_inputs(history, nothing, NOW).values()
    assert tensors["items"].tolist() == [[0] * (HISTORY - 2) + [1, 3]]
    assert held.encoder_inputs(History.empty(), nothing, NOW) == {}
    (expected,) = whole.query_vectors(history, nothing, NOW).values()
    (got,) = session(one.onnx.tobytes()).run(None, dict(tensors))
    assert np.array_equal(got[0], expected)
