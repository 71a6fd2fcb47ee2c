"""A channel with an encoder in the server: one call to Triton before recall, and answers without it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from data_exchange_center import wire
from data_exchange_center.candidates import StoredUser
from data_exchange_center.fusion import NO_HITS
from extras.models.encoder import session
from online.clients.base import OUT_OF_TIME, Client, ServiceError
from online.clients.triton import EncoderQuery
from online.recommend.outcomes import Outcome
from online.recommend.recommend import Recommender
from online.recommend.types import Answer, Request
from tests.unit.extras.models.encoded_world import CHANNEL, EncodedWorld
from tests.unit.online.conftest import PATIENT
from tests.unit.online.fakes import FakeFeatures, FakeItems, FakeScorer, FakeUsers
from tests.unit.online.world import AT, BLANK_USER, LONG_HISTORY_USER

WORLD = EncodedWorld()


class FakeTriton(Client[EncoderQuery, NDArray[np.float32]]):
    service = "triton"

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[EncoderQuery] = []
        self.fails = ""

    def _call(self, query: EncoderQuery) -> NDArray[np.float32]:
        self.calls.append(query)
        if self.fails:
            raise ServiceError(self.service, self.fails)
        assert query.model == wire.encoder_model(CHANNEL, WORLD.release)
        vector: NDArray[np.float32] = session(WORLD.encoder.onnx.tobytes()).run(
            None, dict(query.inputs)
        )[0][0]
        assert len(vector) == query.dims
        return vector

    def _ping(self) -> str:
        return "fake"

    def close(self) -> None:
        pass


@pytest.fixture
def triton() -> FakeTriton:
    return FakeTriton()


@pytest.fixture
def recommender(triton: FakeTriton) -> Iterator[Recommender]:
    services = (
        FakeUsers(WORLD, live=WORLD.release),
        FakeItems(WORLD),
        FakeFeatures(WORLD),
        FakeScorer(WORLD),
    )
    with closing(Recommender(*services, PATIENT, encoder=triton)) as recommender:  # type: ignore[arg-type]
        recommender.releases.follow()
        yield recommender


def ask(recommender: Recommender, userid: int = 1, *, strict: bool = False) -> Answer:
    return recommender.recommend(
        Request(userid=userid, timestamp=AT, explain="recall", strict=strict)
    )


@pytest.mark.parametrize("userid", [1, LONG_HISTORY_USER])
def test_the_list_is_that_of_the_model_offline(
    recommender: Recommender, triton: FakeTriton, userid: int
) -> None:
    answer, recall = ask(recommender, userid, strict=True), WORLD.recipe.recall
    vectors = WORLD.user_vectors(userid)
    expected = WORLD.search(
        recall.channels[-1], vectors[CHANNEL], (), WORLD.seen[userid], recall.candidates
    )  # type: ignore[arg-type]
    assert answer.recall[CHANNEL] == expected.ids.tolist()
    assert not answer.degraded
    assert "encoder" in answer.took_ms
    assert len(triton.calls) == 1


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
    assert (found.outcome, found.service, found.instead) == (
        Outcome.NOT_ENCODED,
        "triton",
        "other_channels",
    )
    assert fails in answer.reason


def test_without_other_channels_popular_items_answer(
    recommender: Recommender, triton: FakeTriton, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = (NO_HITS,) * len(WORLD.recipe.recall.searched)
    monkeypatch.setattr(recommender.items, "_call", lambda query: nothing)
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
    assert triton.calls == []
    assert Outcome.NOT_ENCODED not in {each.outcome for each in answer.degraded}


def test_a_history_of_the_request_is_encoded(
    recommender: Recommender, triton: FakeTriton
) -> None:
    def brought(
        request: Request, opened: object, stored: StoredUser | None
    ) -> StoredUser:
        assert stored is not None
        return replace(stored, history=WORLD.histories[1])

    recommender.phases.state.append(brought)
    answer = ask(recommender, 8)
    inputs = WORLD.channels.encoder_inputs(WORLD.histories[1], WORLD.profile(1), AT)[
        CHANNEL
    ]
    assert np.array_equal(triton.calls[0].inputs["items"], inputs["items"])
    assert answer.recall[CHANNEL]


def test_the_breaker_is_the_one_of_triton(
    recommender: Recommender, triton: FakeTriton
) -> None:
    recommender.scorer.breaker.force_open("is switched off")
    answer = ask(recommender)
    assert triton.calls == []
    assert [each.outcome for each in answer.degraded] == [
        Outcome.NOT_ENCODED,
        Outcome.NOT_RANKED,
    ]
