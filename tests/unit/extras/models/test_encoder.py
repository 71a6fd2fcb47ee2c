"""A channel with an encoder in the server: one call to Triton before recall, and answers without it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import numpy as np
import pytest
from numpy.typing import NDArray

from data_exchange_center import wire
from data_exchange_center.channel_file import pack_channels, unpack_channels
from data_exchange_center.channels import ChannelSet, Requests
from data_exchange_center.history import History
from extras.models.encoder import Encoder, extend_to_query, session
from online.clients.base import OUT_OF_TIME, ServiceError
from online.clients.triton import EncoderQuery, ScoreQuery
from online.recommend.outcomes import Outcome
from online.recommend.recommend import Recommender
from online.recommend.types import Answer, Request
from tests.unit.extras.models import bundles
from tests.unit.extras.models.bundles import DIMS, HISTORY
from tests.unit.extras.models.encoded_world import CHANNEL, EncodedWorld
from tests.unit.online.conftest import PATIENT
from tests.unit.online.fakes import (
    FakeFeatures,
    FakeItems,
    FakeScorer,
    FakeUsers,
    open_breaker,
)
from tests.unit.online.world import AT, BLANK_USER, LONG_HISTORY_USER

WORLD = EncodedWorld()


class FakeTriton(FakeScorer):
    """It scores, and makes the vectors of the encoder."""

    def __init__(self) -> None:
        super().__init__(WORLD)
        self.encoded: list[EncoderQuery] = []
        self.fails = ""

    def _call(self, query: ScoreQuery | EncoderQuery) -> NDArray[np.float32]:
        if isinstance(query, ScoreQuery):
            return super()._call(query)
        self.encoded.append(query)
        if self.fails:
            raise ServiceError(self.service, self.fails)
        assert query.model == wire.encoder_model(CHANNEL, WORLD.release)
        model = session(WORLD.encoder.onnx.tobytes())
        ((vector,),) = model.run(None, dict(query.inputs))
        assert len(vector) == query.dims
        return vector  # type: ignore[no-any-return]


@pytest.fixture
def triton() -> FakeTriton:
    return FakeTriton()


@pytest.fixture
def recommender(triton: FakeTriton) -> Iterator[Recommender]:
    fakes = FakeItems(WORLD), FakeFeatures(WORLD), triton
    services = FakeUsers(WORLD, live=WORLD.release), *fakes
    with closing(Recommender(*services, PATIENT)) as recommender:  # type: ignore[arg-type]
        recommender.releases.follow()
        yield recommender


def ask(recommender: Recommender, userid: int = 1, *, strict: bool = False) -> Answer:
    request = Request(userid=userid, timestamp=AT, explain="recall", strict=strict)
    return recommender.recommend(request)


@pytest.mark.parametrize("userid", [1, LONG_HISTORY_USER])
def test_the_list_is_that_of_the_model_offline(
    recommender: Recommender, triton: FakeTriton, userid: int
) -> None:
    answer, recall = ask(recommender, userid, strict=True), WORLD.recipe.recall
    channel, vector = recall.vector_channels[-1], WORLD.user_vectors(userid)[CHANNEL]
    seen = WORLD.seen[userid]
    expected = WORLD.search(channel, vector, (), seen, recall.candidates)
    assert answer.recall[CHANNEL] == expected.ids.tolist()
    assert not answer.degraded
    assert "encoder" in answer.took_ms
    assert len(triton.encoded) == 1


@pytest.mark.parametrize("fails", ["cannot be reached", OUT_OF_TIME])
def test_without_triton_the_other_channels_answer(
    recommender: Recommender, triton: FakeTriton, fails: str
) -> None:
    before = ask(recommender)
    triton.fails = fails
    answer = ask(recommender)
    assert answer.recall[CHANNEL] == []
    assert all(answer.recall[name] == before.recall[name] for name in ("tower", "ease"))
    (found,) = answer.degraded
    assert found.outcome is Outcome.NOT_ENCODED
    assert (found.service, found.instead) == ("triton", "other_channels")
    assert fails in answer.reason
    with pytest.raises(ServiceError, match="triton"):
        ask(recommender, strict=True)


def test_without_other_channels_popular_items_answer(
    recommender: Recommender, triton: FakeTriton, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recommender.items, "_call", lambda query: {})
    triton.fails = "cannot be reached"
    answer = ask(recommender)
    assert answer.filled_up == len(answer.item_list) == 50
    assert answer.degraded[0].outcome is Outcome.NOT_ENCODED


def test_a_user_without_history_costs_no_call(
    recommender: Recommender, triton: FakeTriton
) -> None:
    answer = ask(recommender, BLANK_USER)
    assert answer.recall[CHANNEL] == []
    assert triton.encoded == []
    assert Outcome.NOT_ENCODED not in {each.outcome for each in answer.degraded}


def test_the_breaker_is_the_one_of_triton(
    recommender: Recommender, triton: FakeTriton
) -> None:
    open_breaker(recommender.scorer.breaker)
    answer = ask(recommender)
    assert triton.encoded == []
    failed = [each.outcome for each in answer.degraded]
    assert failed == [Outcome.NOT_ENCODED, Outcome.NOT_RANKED]


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
