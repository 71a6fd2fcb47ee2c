import json
from typing import Any

import numpy as np
import pytest

from data_exchange_center.candidates import ItemQuery
from data_exchange_center.recipes import (
    DEFAULT,
    SOURCE,
    EaseRecipe,
    RecallRecipe,
    Recipe,
    VectorIndex,
    VectorRecipe,
)
from data_exchange_center.settings import ElasticsearchSettings
from online.clients.base import GoneError, ServiceError
from online.clients.elastic import ElasticItems, channel_query, unseen_filter
from online.clients.http import HttpAnswer
from tests.unit.online.world import DefaultWorld


def inner_products(
    scores: np.ndarray, channel: EaseRecipe, recall: RecallRecipe
) -> np.ndarray:
    """What the client reads from the scores of a search by vector alone."""
    hits = [{"sort": [score, number]} for number, score in enumerate(scores.tolist())]
    client = ElasticItems(ElasticsearchSettings())
    return client._hits(
        {"status": 200, "hits": {"hits": hits}}, channel, recall, by_vector_alone=True
    ).scores


def search_of(channel: VectorRecipe, recall: RecallRecipe, *terms: int) -> Any:
    """The search by a vector of ones."""
    query = ItemQuery("", recall, {channel.name: np.ones(1, np.float32)}, terms)
    return channel_query(channel, query, unseen_filter(()))


@pytest.mark.parametrize("weight", [1.0, 0.5])
def test_small_products_keep_their_digits_in_scores(weight: float) -> None:
    """Its float32 scores are p + 1, or 1 / (1 - p) below zero: products close to zero would become one."""
    positive = [1e-5, 1e-5 + 1e-11, 1e-3, 1e-3 + 1e-9, 1.0, 50.0]
    products = np.array([-50.0, -1.0, -1e-3, -1e-5, 0.0, *positive])
    channel = EaseRecipe(vector_weight=weight)
    search = search_of(channel, DEFAULT.recall)
    # of items whose vectors are the products
    requested = products * search["knn"]["query_vector"][0]
    near = np.where(requested >= 0, requested + 1, 1 / (1 + np.abs(requested)))
    scores = (weight * near).astype(np.float32).astype(np.float64)
    found = inner_products(scores, channel, DEFAULT.recall)
    np.testing.assert_allclose(found, products, rtol=1e-6, atol=1e-12)
    assert (np.diff(found) > 0).all()


@pytest.mark.parametrize(
    ("index", "largest"), [("int8_flat", 1.0), ("bbq_hnsw", 1.0), ("hnsw", 2.0**20)]
)
def test_a_quantized_index_is_searched_within_its_items_range(
    index: VectorIndex, largest: float
) -> None:
    recall, channel = DEFAULT.recall.model_copy(update={"index": index}), EaseRecipe()
    search = search_of(channel, recall)
    assert search["knn"]["query_vector"][0] == largest
    found = inner_products(np.array([1 + largest]), channel, recall)
    assert found == pytest.approx(1)


@pytest.mark.parametrize("terms", [(), (2,)])
def test_all_neighbours_count_besides_genres(terms: tuple[int, ...]) -> None:
    """Without its k, Elasticsearch 8.18 and later take the search's size: fewer neighbours, other candidates."""
    recall = SOURCE.recall
    search = search_of(recall.vector_channels[0], recall, *terms)
    knn = search["bool"]["should"][1]["knn"] if terms else search["knn"]
    assert knn["k"] == knn["num_candidates"] == recall.num_candidates
    assert recall.num_candidates > recall.candidates


HIT = {"sort": [3.0, 7]}
WHOLE = {"status": 200, "hits": {"hits": [HIT]}}


PARTIAL = {**WHOLE, "_shards": {"failed": 1}}
WORLD = DefaultWorld()
QUERY = ItemQuery(WORLD.release, WORLD.recipe.recall, WORLD.user_vectors(1))
GONE = {"status": 404, "error": {"type": "index_not_found_exception"}}
REFUSED = {"status": 400, "error": {"type": "query_shard_exception"}}
BROKEN = {"status": 503, "error": {"type": "search_phase_execution_exception"}}


def answering(patch: pytest.MonkeyPatch, *answers: Any, **settings: Any) -> Any:
    """A client, and what is left of the answers to its requests' second searches."""
    client = ElasticItems(ElasticsearchSettings(**settings))
    left = list(answers)

    def post(*_: object) -> HttpAnswer:
        body = {"responses": [WHOLE, left.pop(0)]}
        return HttpAnswer(200, json.dumps(body).encode())

    patch.setattr(client.http, "post", post)
    return client, left


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (GONE, GoneError, "no items of this release"),
        (REFUSED, ServiceError, "channel ease .query_shard"),
        ({**WHOLE, "timed_out": True}, ServiceError, "a part of its index"),
        (PARTIAL, ServiceError, "a part of its index"),
    ],
)
def test_an_error_within_a_multi_search_is_raised(
    answer: Any,
    error: type[ServiceError],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client, _ = answering(monkeypatch, answer)
    with pytest.raises(ServiceError, match=message) as raised:
        client.call(QUERY)
    assert type(raised.value) is error


@pytest.mark.parametrize("lacking", [PARTIAL, BROKEN])
@pytest.mark.parametrize("cluster", [True, False])
def test_a_cluster_request_is_retried_once(
    lacking: Any, cluster: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a cluster, where the others have copies."""
    answers = [lacking, WHOLE, lacking, lacking]
    client, left = answering(monkeypatch, *answers, cluster=cluster)
    if cluster:
        assert len(client.call(QUERY)) == len(QUERY.recall.vector_channels)
    with pytest.raises(ServiceError, match=r"a part of its index|refused the search"):
        client.call(QUERY)
    assert len(left) == (0 if cluster else 3)


@pytest.mark.parametrize(("recipe", "hybrid"), [(SOURCE, True), (DEFAULT, False)])
def test_terms_are_searched_only_if_the_recipe_weighs_them(
    recipe: Recipe, hybrid: bool
) -> None:
    for channel in recipe.recall.vector_channels:
        search = search_of(channel, recipe.recall, 1, 4)
        assert ("bool" in search) == hybrid
        alone = ItemQuery("", recipe.recall, {}, (1, 4))
        assert (channel_query(channel, alone, unseen_filter(())) is not None) == hybrid
