"""Free-text search over the real services: Elasticsearch finds what memory finds, and memory answers without it."""

from collections.abc import Iterator
from contextlib import closing

import numpy as np
import pytest
from flask.testing import FlaskClient

from data_exchange_center.settings import Settings
from extras.search.text import TextItems, TextQuery, Words, searched_words
from online.clients.base import GoneError
from online.clients.elastic import ElasticItems
from online.main.s1_server import create_app
from online.recommend.recommend import Recommender
from tests.unit.extras.questions.asking import USER, ask, ids
from tests.unit.online.fakes import open_breaker
from tests.unit.online.world import UNKNOWN_USER, DefaultWorld, World

pytestmark = pytest.mark.parametrize(
    "world", [DefaultWorld], ids=["DefaultWorld"], indirect=True
)
USERS = pytest.mark.parametrize("userid", [USER, UNKNOWN_USER])


@pytest.fixture
def http(patient: Settings, world: World) -> Iterator[FlaskClient]:
    with closing(Recommender.from_settings(patient)) as recommender:
        app = create_app(recommender, patient)
        recommender.releases.follow()
        yield app.test_client()


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


@USERS
def test_query_with_filter_and_exclusion(
    http: FlaskClient, world: World, userid: int
) -> None:
    wanted = {
        "query": "comedy",
        "where": {"genres": {"none": ["Drama"]}},
        "strict": True,
        "userid": userid,
    }
    found = ids(ask(http, **wanted, size=200))
    genres = {n: world.attributes(n)["genres"] for n in world.itemids}
    matching = {
        n for n in world.itemids if "Comedy" in genres[n] and "Drama" not in genres[n]
    }
    assert set(found) == matching - set(world.seen[USER] if userid == USER else ())
    assert set(ids(ask(http, **wanted, size=200, exclude=found[:5]))) == set(found[5:])
    explained = ask(http, **wanted, size=5, explain=True)
    assert [each["itemid"] for each in explained["explained"]] == ids(explained)


@USERS
def test_title_is_found_without_elasticsearch_too(
    http: FlaskClient, world: World, userid: int
) -> None:
    wanted = next(n for n in reversed(world.trained) if n not in world.seen[USER])
    full = ask(http, userid=userid, query=f"[{wanted}]", size=5, budget_ms=10_000)
    recommender = http.application.extensions["recsys"].recommender
    open_breaker(recommender.items.breaker)
    degraded = ask(http, userid=userid, query=f"[{wanted}]", size=5, budget_ms=10_000)
    assert ids(full)[0] == ids(degraded)[0] == wanted
    assert "degraded" not in full
    assert [(each["service"], each["instead"]) for each in degraded["degraded"]] == [
        ("elasticsearch", "exact_search")
    ]
