"""A recall channel with an encoder over the real services: Triton makes its vector, Elasticsearch searches it."""

from collections.abc import Iterator
from contextlib import closing

import pytest
import torch

from data_exchange_center import wire
from data_exchange_center.settings import Settings
from offline.models.rankers import ScoringModel
from offline_to_online import onnx_export
from offline_to_online.stores.triton import TritonStore
from online.clients.http import Http
from online.clients.triton import TritonScores
from online.recommend.outcomes import Outcome
from online.recommend.recommend import Recommender
from online.recommend.types import Answer, Request
from tests.own_stack import redis_of
from tests.services.conftest import (
    Linear,
    load_elasticsearch,
    load_feast,
    load_redis,
)
from tests.unit.extras.models.encoded_world import CHANNEL, EncodedWorld
from tests.unit.online.world import AT


@pytest.fixture(scope="module")
def encoded(patient: Settings) -> Iterator[EncodedWorld]:
    """The world, loaded; it is deleted at the end."""
    bare = EncodedWorld()
    with torch.no_grad():
        content = onnx_export.export_onnx(
            ScoringModel(Linear(bare)), bare.spec.sizes, bare.release
        )
    store = TritonStore(patient)
    encoders = {CHANNEL: bare.encoder.onnx.tobytes()}
    place = store.load(bare.release, content, encoders)
    world = EncodedWorld(model=place.model, model_version=place.version)
    load_elasticsearch(patient, world)
    load_feast(patient, world)
    with redis_of(patient) as client:
        load_redis(client, world)
        client.lpush(wire.PUBLISHED_KEY, world.release)
        yield world
        client.lrem(wire.PUBLISHED_KEY, 0, world.release)
    store.delete([world.release])
    assert store.encoders([world.release]) == []


@pytest.fixture(scope="module")
def recommender(patient: Settings, encoded: EncodedWorld) -> Iterator[Recommender]:
    with closing(Recommender.from_settings(patient)) as recommender:
        recommender.releases.follow()
        yield recommender


def ask(
    recommender: Recommender, world: EncodedWorld, *, strict: bool = False
) -> Answer:
    request = Request(
        userid=1,
        timestamp=AT,
        explain="recall",
        strict=strict,
        release=world.release,
        budget_ms=10_000,
    )
    return recommender.recommend(request)


def test_the_channel_finds_the_items_of_the_artifacts(
    recommender: Recommender, encoded: EncodedWorld
) -> None:
    answer, recall = ask(recommender, encoded, strict=True), encoded.recipe.recall
    channel, vector = recall.vector_channels[-1], encoded.user_vectors(1)[CHANNEL]
    expected = encoded.search(channel, vector, (), encoded.seen[1], recall.candidates)
    assert set(answer.recall[CHANNEL]) == set(expected.ids.tolist())
    assert answer.recall[CHANNEL][0] == expected.ids[0]


def test_a_request_without_triton_lacks_the_channel_and_says_so(
    recommender: Recommender, encoded: EncodedWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = ask(recommender, encoded)
    assert isinstance(recommender.scorer, TritonScores)
    with (
        closing(Http("http://127.0.0.1:9", timeout_s=1)) as nowhere,
        monkeypatch.context() as patch,
    ):
        patch.setattr(recommender.scorer, "http", nowhere)
        answer = ask(recommender, encoded)
    assert [each.outcome for each in answer.degraded] == [
        Outcome.NOT_ENCODED,
        Outcome.NOT_RANKED,
    ]
    assert answer.recall[CHANNEL] == []
    assert answer.recall["tower"] == before.recall["tower"]
