"""A channel with an encoder in the server: one call to Triton before recall, and answers without it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import numpy as np
import pytest
from numpy.typing import NDArray

from data_exchange_center import wire
from extras.models.encoder import session
from online.clients.base import OUT_OF_TIME, ServiceError
from online.clients.triton import EncoderQuery, ScoreQuery
from online.recommend.outcomes import Outcome
from online.recommend.recommend import Recommender
from online.recommend.types import Answer, Request
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


def test_without_other_channels_popular_items_answer(
    recommender: Recommender, triton: FakeTriton, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recommender.items, "_call", lambda query: {})
    triton.fails = "cannot be reached"
    answer = ask(recommender)
    assert answer.filled_up == len(answer.item_list) == 50
    assert answer.degraded[0].outcome is Outcome.NOT_ENCODED


def test_a_strict_request_gets_the_error(
    recommender: Recommender, triton: FakeTriton
) -> None:
    triton.fails = "cannot be reached"
    with pytest.raises(ServiceError, match="triton"):
        ask(recommender, strict=True)


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
