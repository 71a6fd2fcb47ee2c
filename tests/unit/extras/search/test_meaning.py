"""Search by meaning: how its matches are merged, and the server with an encoder of sentences."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock

import numpy as np
import orjson
import pytest
from flask.testing import FlaskClient
from tokenizers import Tokenizer, models, pre_tokenizers

from data_exchange_center.fusion import NO_HITS, Hits
from data_exchange_center.settings import ElasticsearchSettings
from extras.search import meaning
from extras.search.meaning import (
    DIMS,
    MODEL,
    TOKENIZER,
    TOKENS,
    NearItems,
    NearQuery,
    Sentences,
    fused,
    packed,
)
from online.clients.base import Breaker, ServiceError, StoredError
from online.clients.elastic import ElasticItems
from online.clients.http import HttpAnswer
from online.main.s1_server import create_app
from tests.unit.extras.asking import USER, ask, ids
from tests.unit.extras.conftest import Fakes
from tests.unit.extras.fakes import FakeNear, FakeSentences
from tests.unit.extras.search.test_hook import lacks, unseen
from tests.unit.online.world import UNKNOWN_USER

USERS = pytest.mark.parametrize("userid", [USER, UNKNOWN_USER])
WORDS = Hits(np.array([3, 5, 4]), np.array([8.0, 4.0, 2.0]))
QUERY = NearQuery("aaaaaaaaaaaa", np.ones(DIMS, np.float32), np.empty(0, np.int32))
NEAR = Hits(np.array([9, 5]), np.array([0.6, 0.3]))


@pytest.fixture
def sentences() -> FakeSentences:
    return FakeSentences()


@pytest.fixture
def near(fakes: Fakes) -> FakeNear:
    """Queries mean three unseen items from far down the list."""
    found = FakeNear()
    found.means = unseen(fakes)[:3]
    return found


@pytest.fixture
def http(
    fakes: Fakes,
    sentences: FakeSentences,
    near: FakeNear,
    monkeypatch: pytest.MonkeyPatch,
) -> FlaskClient:
    monkeypatch.setenv("RECSYS_SEARCH__ENCODER", "minilm")
    fakes.recommender.reset_extensions()
    stores = {**fakes.stores, "sentences": sentences, "near": near}
    return create_app(fakes.recommender, stores=stores).test_client()


@pytest.mark.parametrize(
    ("words", "near", "weight", "order"),
    [
        (WORDS, NEAR, 0.0, [3, 5, 4, 9]),
        (WORDS, NEAR, 1.0, [9, 5, 3, 4]),
        (WORDS, NEAR, 0.5, [3, 5, 9, 4]),
        (WORDS, NO_HITS, 0.7, [3, 5, 4]),
        (NO_HITS, NEAR, 0.7, [9, 5]),
        (NO_HITS, NO_HITS, 0.7, []),
    ],
)
def test_matches_by_words_and_meaning_are_weighed(
    words: Hits, near: Hits, weight: float, order: list[int]
) -> None:
    assert fused(words, near, weight).ids.tolist() == order


def test_text_of_an_item_has_title_and_values() -> None:
    attributes = {"genres": ["Action", "Sci-Fi"], "year": 1999, "country": None}
    assert (
        meaning.text_of("Matrix, The (1999)", attributes)
        == "Matrix, The (1999). Action, Sci-Fi"
    )


@USERS
def test_paraphrases_find_items_without_their_words(
    http: FlaskClient, near: FakeNear, userid: int
) -> None:
    answer = ask(http, userid=userid, query="zzz", size=10)
    assert set(ids(answer)) == {*near.means}
    assert answer["short"] == "query"
    assert "degraded" not in answer


@USERS
@pytest.mark.parametrize("down", ["sentences", "near"])
def test_words_alone_answer_where_meaning_fails(
    http: FlaskClient, sentences: FakeSentences, near: FakeNear, userid: int, down: str
) -> None:
    ask(http, userid=userid)
    failing = {"sentences": sentences, "near": near}[down]
    failing.down = True
    answer = ask(http, userid=userid, query="comedy", size=20)
    assert len(ids(answer)) == 20
    assert all("Comedy" in item["genres"] for item in answer["item_list"])
    assert lacks(answer) == {failing.service: "words"}
    strict = ask(http, 503, userid=userid, query="comedy", strict=True)
    assert strict["error"]["service"] == failing.service


def test_without_elasticsearch_memory_is_searched_by_words(
    fakes: Fakes, http: FlaskClient, near: FakeNear
) -> None:
    ask(http)
    fakes.text.down = True
    answer = ask(http, query="comedy", size=20)
    assert lacks(answer) == {"elasticsearch": "exact_search"}
    assert near.calls == []


@USERS
def test_seen_and_filtered_items_are_not_found_by_meaning(
    fakes: Fakes, http: FlaskClient, near: FakeNear, userid: int
) -> None:
    seen = fakes.world.seen[userid] if userid == USER else ()
    first, *others = near.means
    near.means = [*near.means, *seen[:2]]
    assert set(ids(ask(http, userid=userid, query="zzz", exclude=[first]))) == {*others}
    assert ids(ask(http, userid=userid, query="zzz", only=[first])) == [first]


def test_the_encoder_is_off_by_default(fakes: Fakes, sentences: FakeSentences) -> None:
    fakes.recommender.reset_extensions()
    stores = {**fakes.stores, "sentences": sentences}
    http = create_app(fakes.recommender, stores=stores).test_client()
    ask(http, query="comedy")
    assert sentences.calls == []


class FakeScores:
    """Triton, which serves an encoder whose tokenizer knows two words."""

    timeout_s = 30.0
    breaker = Breaker("triton")

    def __init__(self) -> None:
        codes = {"[UNK]": 1, "hidden": 2, "reality": 3}
        tokenizer = Tokenizer(models.WordLevel(codes, unk_token="[UNK]"))
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        value = {"string_value": packed(tokenizer.to_str().encode())}
        self.config = {"parameters": {TOKENIZER: value}}
        self.status, self.read, self.inputs = 200, 0, np.empty(0)
        self.http = self

    def get(self, path: str) -> HttpAnswer:
        assert path == f"/v2/models/{MODEL}/config"
        self.read += 1
        return HttpAnswer(self.status, orjson.dumps(self.config))

    def infer(self, model: str, version: int, inputs: Any, *size: int) -> np.ndarray:
        self.inputs = inputs[TOKENS]
        return np.zeros(size, np.float32)[0]


def test_a_query_is_sent_to_triton_as_codes_of_tokens() -> None:
    scores = FakeScores()
    client = Sentences(scores)  # type: ignore[arg-type]
    assert len(client.call("hidden reality new")) == DIMS
    assert scores.inputs.tolist() == [[2, 3, 1]]
    client.call("reality " * 500)
    assert scores.inputs.shape == (1, meaning.LONGEST)
    assert scores.read == 1


@pytest.mark.parametrize("down", [False, True])
def test_an_opened_release_has_the_tokenizer_loaded(
    http: FlaskClient, sentences: FakeSentences, down: bool
) -> None:
    sentences.down = down
    ask(http)
    assert sentences.prepared == 1


def test_a_triton_without_the_encoder_is_not_to_blame() -> None:
    scores = FakeScores()
    scores.status = 400
    client = Sentences(scores)  # type: ignore[arg-type]
    with pytest.raises(StoredError):
        client.call("reality")
    scores.status = 200
    client.call("reality")


@pytest.mark.parametrize(("status", "error"), [(404, StoredError), (503, ServiceError)])
def test_a_release_without_vectors_is_named(
    status: int, error: type[ServiceError]
) -> None:
    near = over(Mock(return_value=HttpAnswer(status, b"{}")))
    with pytest.raises(error) as caught:
        near.call(QUERY)
    assert isinstance(caught.value, StoredError) == (error is StoredError)


def test_a_fault_of_the_shared_connections_is_met() -> None:
    post = Mock(side_effect=ConnectionRefusedError)
    with pytest.raises(ServiceError):
        over(post).call(QUERY)
    post.assert_called_once()


def over(post: Mock) -> NearItems:
    """A search by meaning whose connections are replaced afterwards."""
    client = ElasticItems(ElasticsearchSettings())
    near = NearItems(client)
    client.http = Mock(post=post)
    return near
