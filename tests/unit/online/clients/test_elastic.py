from __future__ import annotations

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
    VectorIndex,
)
from data_exchange_center.settings import ElasticsearchSettings
from online.clients.base import GoneError, ServiceError
from online.clients.elastic import ElasticItems, channel_query, unseen_filter
from online.clients.http import HttpAnswer
from tests.unit.online.world import DefaultWorld, SourceWorld


def inner_products(
    scores: np.ndarray, channel: EaseRecipe, recall: RecallRecipe
) -> np.ndarray:
    """What the client reads from the scores of a search by vector alone."""
    hits = [{"sort": [score, number]} for number, score in enumerate(scores.tolist())]
    client = ElasticItems(ElasticsearchSettings())
    return client._hits(
        {"status": 200, "hits": {"hits": hits}}, channel, recall, by_vector_alone=True
    ).scores


@pytest.mark.parametrize("weight", [1.0, 0.5])
def test_small_products_keep_their_digits_in_scores(weight: float) -> None:
    """Its float32 scores are p + 1, or 1 / (1 - p) below zero: products close to zero would become one."""
    products = np.array(
        [
            -50.0,
            -1.0,
            -1e-3,
            -1e-5,
            0.0,
            1e-5,
            1e-5 + 1e-11,
            1e-3,
            1e-3 + 1e-9,
            1.0,
            50.0,
        ]
    )
    channel = EaseRecipe(vector_weight=weight)
    search = channel_query(
        channel,
        ItemQuery("", DEFAULT.recall, {"ease": np.ones(1, np.float32)}),
        unseen_filter(()),
    )
    # of items whose vectors are the products
    requested = products * search["knn"]["query_vector"][0]
    scores = (
        weight * np.where(requested >= 0, requested + 1, 1 / (1 + np.abs(requested)))
    ).astype(np.float32)
    found = inner_products(scores.astype(np.float64), channel, DEFAULT.recall)
    np.testing.assert_allclose(found, products, rtol=1e-6, atol=1e-12)
    assert (np.diff(found) > 0).all()


@pytest.mark.parametrize(
    ("index", "largest"), [("int8_flat", 1.0), ("bbq_hnsw", 1.0), ("hnsw", 2.0**20)]
)
def test_a_quantized_index_is_searched_within_its_items_range(
    index: VectorIndex, largest: float
) -> None:
    recall = DEFAULT.recall.model_copy(update={"index": index})
    search = channel_query(
        EaseRecipe(),
        ItemQuery("", recall, {"ease": np.ones(1, np.float32)}),
        unseen_filter(()),
    )
    assert search["knn"]["query_vector"][0] == largest
    assert inner_products(
        np.array([1 + largest]), EaseRecipe(), recall
    ) == pytest.approx(1)


@pytest.mark.parametrize("terms", [(), (2,)])
def test_all_neighbours_count_besides_genres(terms: tuple[int, ...]) -> None:
    """Without its k, Elasticsearch 8.18 and later take the search's size: fewer neighbours, other candidates."""
    (channel,) = SOURCE.recall.channels
    query = ItemQuery("", SOURCE.recall, {channel.name: np.ones(4, np.float32)}, terms)
    search = channel_query(channel, query, unseen_filter(()))
    knn = search["bool"]["should"][1]["knn"] if terms else search["knn"]
    assert (
        knn["k"]
        == knn["num_candidates"]
        == SOURCE.recall.num_candidates
        > SOURCE.recall.candidates
    )


HIT = {"sort": [3.0, 7]}
WHOLE = {"status": 200, "hits": {"hits": [HIT]}}


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (
            {"status": 404, "error": {"type": "index_not_found_exception"}},
            GoneError,
            "no items of this release",
        ),
        (
            {"status": 400, "error": {"type": "query_shard_exception"}},
            ServiceError,
            "channel ease .query_shard",
        ),
        ({**WHOLE, "timed_out": True}, ServiceError, "a part of its index"),
        ({**WHOLE, "_shards": {"failed": 1}}, ServiceError, "a part of its index"),
    ],
)
def test_an_error_within_a_multi_search_is_raised(
    answer: dict[str, Any],
    error: type[ServiceError],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client, world = ElasticItems(ElasticsearchSettings()), DefaultWorld()
    reported = HttpAnswer(200, json.dumps({"responses": [WHOLE, answer]}).encode())
    monkeypatch.setattr(client.http, "post", lambda *_: reported)
    with pytest.raises(ServiceError, match=message) as raised:
        client.call(
            ItemQuery(world.release, world.recipe.recall, world.user_vectors(1))
        )
    assert type(raised.value) is error


@pytest.mark.parametrize(
    "lacking",
    [
        {**WHOLE, "_shards": {"failed": 1}},
        {"status": 503, "error": {"type": "search_phase_execution_exception"}},
    ],
)
@pytest.mark.parametrize("cluster", [True, False])
def test_a_cluster_request_is_retried_once(
    lacking: dict[str, Any], cluster: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a cluster, where the others have copies."""
    client, world = ElasticItems(ElasticsearchSettings(cluster=cluster)), DefaultWorld()
    query = ItemQuery(world.release, world.recipe.recall, world.user_vectors(1))
    whole = lambda found: HttpAnswer(200, json.dumps({"responses": found}).encode())  # noqa: E731
    reported = iter(
        [[WHOLE, lacking], [WHOLE, WHOLE], [WHOLE, lacking], [WHOLE, lacking]]
    )
    monkeypatch.setattr(client.http, "post", lambda *_: whole(next(reported)))
    if cluster:
        assert len(client.call(query)) == len(query.recall.searched)
    with pytest.raises(ServiceError, match=r"a part of its index|refused the search"):
        client.call(query)
    assert len(list(reported)) == (0 if cluster else 3)


def test_terms_are_searched_only_if_the_recipe_weighs_them() -> None:
    for world, hybrid in ((SourceWorld(), True), (DefaultWorld(), False)):
        query = ItemQuery(
            world.release, world.recipe.recall, world.user_vectors(1), (1, 4), (7,)
        )
        for channel in world.recipe.recall.channels:
            search = channel_query(channel, query, unseen_filter(query.seen))
            assert ("bool" in search) == hybrid
            alone = channel_query(
                channel,
                ItemQuery(world.release, world.recipe.recall, {}, (1, 4)),
                unseen_filter(()),
            )
            assert (alone is not None) == hybrid
