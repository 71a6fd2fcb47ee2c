"""Search by meaning over the real services: Triton encodes the query, Elasticsearch finds the nearest items."""

from collections.abc import Iterator
from contextlib import closing

import numpy as np
import pytest
from elasticsearch import Elasticsearch
from flask.testing import FlaskClient

from data_exchange_center.settings import Settings
from extras.search import load_encoder
from extras.search.meaning import (
    MODEL,
    NEAREST,
    NearItems,
    NearQuery,
    Sentences,
    meaning_index,
    text_of,
)
from extras.search.text import TextItems, TextQuery, Words, searched_words
from offline_to_online.stores.elasticsearch import ElasticsearchStore
from offline_to_online.stores.triton import TritonStore
from online.clients.base import GoneError, StoredError
from online.clients.elastic import ElasticItems
from online.clients.triton import TritonScores
from tests.services.conftest import ONE_WORLD, server_of
from tests.unit.extras.asking import USER, ask, ids
from tests.unit.extras.search.tiny_encoder import expected, tiny_encoder
from tests.unit.online.world import UNKNOWN_USER, World

pytestmark = ONE_WORLD
USERS = pytest.mark.parametrize("userid", [USER, UNKNOWN_USER])


@pytest.fixture
def loaded(
    patient: Settings, world: World, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Settings]:
    """The settings of services that have a tiny encoder and the release's vectors."""
    monkeypatch.setenv("RECSYS_SEARCH__ENCODER", "minilm")
    monkeypatch.setattr(load_encoder.Encoder, "read", lambda folder: tiny_encoder())
    load_encoder.sync(patient)
    yield patient
    monkeypatch.setenv("RECSYS_SEARCH__ENCODER", "")
    load_encoder.sync(patient)


@pytest.fixture
def http(loaded: Settings) -> Iterator[FlaskClient]:
    with server_of(loaded) as client:
        yield client


def comedies(world: World) -> set[int]:
    return {n for n in world.itemids if "Comedy" in world.attributes(n)["genres"]}


def test_triton_and_elasticsearch_find_what_exact_search_finds(
    loaded: Settings, world: World
) -> None:
    texts = [text_of(world.titles[n], world.attributes(n)) for n in world.itemids]
    cosines = tiny_encoder().vectors(texts) @ expected("funny", "drama")
    seen, only = (
        np.array(world.seen[USER], np.int32),
        np.array(sorted(world.itemids)[::2], np.int64),
    )
    with (
        closing(TritonScores(loaded.triton)) as scores,
        closing(ElasticItems(loaded.elasticsearch)) as items,
    ):
        vector = Sentences(scores).call("funny drama")
        np.testing.assert_allclose(vector, expected("funny", "drama"), atol=1e-5)
        found = NearItems(items).call(NearQuery(world.release, vector, seen))
        limited = NearItems(items).call(NearQuery(world.release, vector, seen, only))
        with pytest.raises(StoredError):
            NearItems(items).call(NearQuery("bbbbbbbbbbbb", vector, seen))
    allowed = ~np.isin(list(world.itemids), seen)
    np.testing.assert_allclose(
        found.scores, np.sort(cosines[allowed])[::-1][:NEAREST], atol=1e-5
    )
    assert not set(found.ids.tolist()) & set(seen.tolist())
    assert set(limited.ids.tolist()) <= set(only.tolist())


@USERS
def test_query_without_words_of_items_finds_what_it_means(
    http: FlaskClient, world: World, userid: int
) -> None:
    wanted = {"query": "funny", "userid": userid, "strict": True}
    first = ids(ask(http, **wanted, size=10))
    assert set(first) <= comedies(world)
    assert not set(ids(ask(http, **wanted, size=10, exclude=first[:3]))) & set(
        first[:3]
    )
    none = {"genres": {"none": ["Drama"]}}
    assert not [
        n
        for n in ids(ask(http, **wanted, size=10, where=none))
        if "Drama" in world.attributes(n)["genres"]
    ]


def indices(client: Elasticsearch) -> set[str]:
    return {*client.indices.get(index=meaning_index("*"))}


def test_vectors_of_published_releases_alone_are_kept(
    loaded: Settings, world: World
) -> None:
    with ElasticsearchStore(loaded).client() as client:
        assert load_encoder.is_loaded(client, world.release)
        kept = indices(client)
        others = {
            meaning_index("bbbbbbbbbbbb"),
            f"{meaning_index(world.release)}-other",
        }  # deleted, of another encoder
        for each in others:
            client.indices.create(index=each)
        assert indices(client) == kept | others
        load_encoder.sync(loaded)
        assert indices(client) == kept


def test_nothing_is_left_where_no_encoder_is_set(
    loaded: Settings, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = TritonStore(loaded).repository / MODEL
    assert folder.is_dir()
    monkeypatch.setenv("RECSYS_SEARCH__ENCODER", "")
    load_encoder.sync(loaded)
    assert not folder.is_dir()
    with ElasticsearchStore(loaded).client() as client:
        assert indices(client) == set()


@USERS
def test_half_loaded_vectors_are_not_searched(
    http: FlaskClient, loaded: Settings, world: World, userid: int
) -> None:
    alias = meaning_index(world.release)
    with ElasticsearchStore(loaded).client() as client:
        (index,) = client.indices.get_alias(name=alias)
        client.indices.delete_alias(index=index, name=alias)
    answer = ask(http, userid=userid, query="comedy", size=10, budget_ms=10_000)
    assert ("elasticsearch", "words") in [
        (each["service"], each["instead"]) for each in answer["degraded"]
    ]


# Free-text search over the real services: Elasticsearch finds what memory finds, and memory answers without it.


@pytest.mark.parametrize(
    "text", ["comedy", "film 1999 adventure", "the drama [31]", "dramas", "nothing"]
)
def test_elasticsearch_finds_what_memory_finds(
    patient: Settings, world: World, text: str
) -> None:
    words, seen = searched_words(text), np.array(world.seen[USER], np.int32)
    memory = Words(
        {n: (world.titles[n], world.attributes(n)) for n in world.itemids}
    ).find(TextQuery(world.release, words, seen))
    only = np.array(sorted(world.itemids)[::2], np.int64)
    with closing(ElasticItems(patient.elasticsearch)) as items:
        found = TextItems(items).call(TextQuery(world.release, words, seen))
        limited = TextItems(items).call(TextQuery(world.release, words, seen, only))
        with pytest.raises(GoneError):
            TextItems(items).call(TextQuery("bbbbbbbbbbbb", words, seen))
    assert set(found.ids.tolist()) == set(memory.ids.tolist())
    assert set(limited.ids.tolist()) == set(found.ids.tolist()) & set(only.tolist())
    assert (np.diff(found.scores) <= 0).all()
