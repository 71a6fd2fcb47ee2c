"""The whole sync into the real services: releases side by side, going live, going back, and failing without harm.

The tests of this file run in order and build on one another: each is a step in the life of three releases. The first
and the third are of the source's recipe, the second of the default one: other channels, features and ranker, and a
model of another width.
"""

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
import requests
from feast.infra.online_stores.helpers import _mmh3

from data_exchange_center import wire
from data_exchange_center.manifest import Manifest, Published
from data_exchange_center.release_parts import release_of_artifacts
from data_exchange_center.settings import Settings
from data_exchange_center.steps import StepError
from offline_to_online.rank import s3_check_offline_and_online
from offline_to_online.recall import s1_user_to_redis, s2_item_to_es
from offline_to_online.release import s1_go_live
from offline_to_online.releases import Stores, activate, publish, require_loaded
from offline_to_online.rows import item_rows
from offline_to_online.stores.base import elastic_client, redis_client
from offline_to_online.stores.feast import FeastStore
from offline_to_online.stores.redis import RedisStore
from offline_to_online.stores.triton import Place, TritonStore
from online.clients.http import Http
from tests.own_stack import redis_of
from tests.services.offline_to_online.releases import (
    LOADS,
    REQUESTS,
    answer,
    live,
    same,
    written,
)
from tests.waiting import until

RELEASES = {
    "first": (1, "source"),
    "second": (2, "default"),
    "third": (3, "source"),
}  # seed, recipe


def made(settings: Settings, name: str) -> Settings:
    """The artifacts of a release, put into the exchange folder; and the settings of its recipe."""
    seed, recipe = RELEASES[name]
    return written(settings, recipe, seed)


def load(settings: Settings, name: str) -> Settings:
    changed = made(settings, name)
    for step in LOADS:
        step.main(changed)
    return changed


def manifest_of(settings: Settings) -> Manifest:
    """The manifest of what is live, as it was before the check of offline against online."""
    published = live(settings)
    assert published.manifest.parity is not None
    return published.manifest.model_copy(update={"parity": None})


def place_of(published: Published) -> Place:
    return Place(published.triton_model, published.triton_version)


@contextmanager
def background_requests(settings: Settings, published: Published) -> Iterator[None]:
    """Ask for the release without a pause while the block runs; every answer must be the one it gave before."""
    before = answer(settings, published)
    stop = threading.Event()
    wrong = []
    requested = 0

    def ask() -> None:
        nonlocal requested
        while not stop.is_set():
            try:
                if not same(answer(settings, published), before):
                    wrong.append("another answer")
            except Exception as error:  # whatever it is, the test must know
                wrong.append(repr(error))
            requested += 1

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
        # what ends sooner than some requests do is followed by them
        until(lambda: requested > 3, 30)
    finally:
        stop.set()
        thread.join()
    assert wrong == []


@pytest.fixture(scope="module")
def ids(
    clean_stack: Settings, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """Ids of the three releases, none of which is loaded yet."""
    folders = {
        name: Settings(exchange_dir=tmp_path_factory.mktemp(name)) for name in RELEASES
    }
    return {
        name: release_of_artifacts(made(settings, name)).release
        for name, settings in folders.items()
    }


def test_a_sync_goes_live(
    stack: Settings, ids: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    settings = load(stack, "first")
    assert FeastStore(stack).live() is None  # not before every check is passed
    s3_check_offline_and_online.main(settings)
    assert RedisStore(stack).listed()[0] is None  # nor by the check itself
    s1_go_live.main(settings)
    assert FeastStore(stack).live() == ids["first"]
    said = capsys.readouterr().out
    assert "60 users in Redis" in said
    assert (
        "fm: 100.0000% of the exact 200 candidates found (worst user 100.00%, all of them for 60)"
        in said
    )
    assert f"release {ids['first']} is live" in said
    published = live(stack)
    assert manifest_of(stack) == release_of_artifacts(settings)
    assert sum(len(each.scores) for each in answer(stack, published)) > 100
    with elastic_client(stack) as elastic:
        assert list(elastic.indices.get_alias(name=wire.ITEM_ALIAS)) == [
            wire.item_index(ids["first"])
        ]
    curl = requests.post(
        f"{stack.feast.url}/get-online-features",
        data='{"feature_service": "ml_item", "entities": {"itemid": [1, 3, 5]}}',
        headers={"Content-Type": "application/json"},
        timeout=30,
    )
    assert curl.status_code == 200
    assert (stack.release_dir / ids["first"] / "manifest.json").is_file()


def test_syncing_the_same_release_again_changes_nothing(stack: Settings) -> None:
    published = live(stack)
    with background_requests(stack, published):
        settings = load(stack, "first")
        s3_check_offline_and_online.main(settings)
        s1_go_live.main(settings)
    assert live(stack) == published
    assert list(TritonStore(stack).versions()) == [place_of(published)]


@pytest.fixture(scope="module")
def second(stack: Settings, ids: dict[str, str]) -> Settings:
    """The settings of the second release's recipe; it was loaded next to the first, which was served meanwhile."""
    published = live(stack)
    with background_requests(stack, published):
        settings = load(stack, "second")
    assert live(stack) == published
    return settings


def test_releases_of_two_recipes_coexist(stack: Settings, second: Settings) -> None:
    """Its model has another width, and so a name of its own."""
    published = live(stack)
    manifest = release_of_artifacts(second)
    place = require_loaded(Stores.of(second), manifest.release)
    name = f"ml_rec_{manifest.feature_spec.sizes}"
    assert (published.triton_model, place.model) == ("ml_rec", name)
    assert {each.model for each in TritonStore(stack).versions()} == {"ml_rec", name}
    other = Published(
        manifest=manifest, triton_model=place.model, triton_version=place.version
    )
    answers = answer(stack, other)
    assert [set(each.candidates.by_channel) for each in answers] == [
        {"tower", "ease"}
    ] * len(REQUESTS)
    assert not same(answers, answer(stack, published))


def test_a_half_loaded_release_is_replaced_by_a_rerun(
    stack: Settings, ids: dict[str, str], second: Settings
) -> None:
    published = live(stack)
    with redis_client(stack) as client:
        client.delete(wire.users_key(ids["second"]))
    with pytest.raises(
        StepError, match=r"not in Redis, or not wholly, .*: run .*s1_user_to_redis\.py"
    ):
        s3_check_offline_and_online.main(second)
    s1_user_to_redis.main(second)

    with elastic_client(stack) as elastic:
        index = wire.item_index(ids["second"])
        elastic.indices.put_mapping(index=index, meta={})
        elastic.delete(index=index, id=str(item_rows(stack.exchange_dir)[0].number))
        with pytest.raises(
            StepError,
            match=r"not in Elasticsearch, or not wholly, .*: run .*s2_item_to_es\.py",
        ):
            s3_check_offline_and_online.main(second)
        s2_item_to_es.main(second)
        assert elastic.count(index=index)["count"] == 320
    assert live(stack) == published


def test_the_second_goes_live_and_the_first_can_be_had_again(
    stack: Settings,
    ids: dict[str, str],
    second: Settings,
    capsys: pytest.CaptureFixture[str],
) -> None:
    first = live(stack)
    before = answer(stack, first)
    s3_check_offline_and_online.main(second)
    with background_requests(stack, first):
        publish(second, ids["second"])
    assert RedisStore(stack).listed() == (ids["first"], [ids["second"], ids["first"]])
    assert FeastStore(stack).live() == ids["first"]
    s1_go_live.main(second)
    said = capsys.readouterr().out
    for group in ("recall", "features", "history", "score"):
        assert f"  {group}" in said
    assert manifest_of(stack) == release_of_artifacts(second)
    assert sum(len(each.scores) for each in answer(stack, live(stack))) > 100
    activate(stack, ids["first"])
    assert live(stack) == first
    assert same(answer(stack, first), before)
    assert FeastStore(stack).live() == ids["first"]
    with elastic_client(stack) as elastic:
        assert list(elastic.indices.get_alias(name=wire.ITEM_ALIAS)) == [
            wire.item_index(ids["first"])
        ]


def test_the_third_clears_the_oldest_out_of_every_store(
    stack: Settings, ids: dict[str, str], second: Settings
) -> None:
    """Live before: first, then second. Third and first are kept, as first was served last."""
    gone = require_loaded(Stores.of(second), ids["second"])
    settings = load(stack, "third").model_copy(update={"kept_releases": 2})
    s3_check_offline_and_online.main(settings)
    s1_go_live.main(settings)
    kept = {ids["third"], ids["first"]}
    store = RedisStore(stack)
    assert store.listed() == (ids["third"], [ids["third"], ids["first"]])
    assert [each.releases() for each in Stores.of(stack)] == [kept] * 4
    with redis_client(stack) as client:
        assert [client.exists(wire.channels_key(ids[name])) for name in RELEASES] == [
            1,
            0,
            1,
        ]
    assert {each.model for each in TritonStore(stack).versions()} == {"ml_rec"}
    with redis_of(stack, db=stack.redis.feast_db) as client:
        column = _mmh3(f"ml_user_{ids['second']}:age")
        assert not any(client.hexists(key, column) for key in client.scan_iter("*"))
    with closing(Http(stack.triton.url, timeout_s=30)) as http:
        path = f"/v2/models/{gone.model}/versions/{gone.version}/ready"
        until(lambda: http.get(path).status != requests.codes.ok, 30)
    assert sum(len(each.scores) for each in answer(stack, live(stack))) > 100
