"""A sync that is killed between any two of its writes leaves the live release whole, and can simply be run again."""

from contextlib import closing
from dataclasses import dataclass
from types import ModuleType

import pytest

from data_exchange_center import wire
from data_exchange_center.manifest import Published
from data_exchange_center.release_parts import release_of_artifacts
from data_exchange_center.settings import Settings
from offline_to_online.parity import CheckedRequest
from offline_to_online.release import s1_go_live
from offline_to_online.releases import Stores
from offline_to_online.stores.base import elastic_client
from offline_to_online.stores.redis import RedisStore
from online.clients.feast import FeastFeatures, FeatureQuery
from tests.services.offline_to_online.releases import (
    LOADS,
    SYNC,
    answer,
    live,
    same,
    writes,
    written,
)


@dataclass(frozen=True)
class Standing:
    """Two releases that were put live one after the other, and the artifacts of a third."""

    settings: Settings
    release: str  # the third
    published: Published  # the second, which is live
    answers: list[CheckedRequest]

    def is_served(self) -> bool:
        """Whether the second is live, and whole."""
        return live(self.settings) == self.published and same(
            answer(self.settings, self.published), self.answers
        )


def synced(settings: Settings) -> Published:
    for step in SYNC:
        step.main(settings)
    return live(settings)


@pytest.fixture(scope="module")
def standing(clean_stack: Settings) -> Standing:
    synced(written(clean_stack, "source", 11))
    published = synced(written(clean_stack, "source", 12))
    answers = answer(clean_stack, published)
    settings = written(clean_stack, "source", 13)
    return Standing(
        settings, release_of_artifacts(settings).release, published, answers
    )


@pytest.mark.parametrize(
    "step", LOADS, ids=lambda step: step.__name__.rpartition(".")[2]
)
def test_a_load_that_is_killed(standing: Standing, step: ModuleType) -> None:
    """Before each of its writes; every further try begins with what the one before has left."""
    kill_at = 0
    while True:
        kill_at += 1
        with writes(standing.settings.exchange_dir, kill_at) as written:
            step.main(standing.settings)
        if not written.dead:
            break
        assert standing.is_served(), written.last
        assert RedisStore(standing.settings).listed()[0] != standing.release
    assert kill_at > 3
    assert standing.is_served()


def named(settings: Settings) -> tuple[str, bool]:
    """The release of the index that people search by its plain name; whether Feast's plain name gives that, too."""
    with elastic_client(settings) as client:
        (index,) = client.indices.get_alias(name=wire.ITEM_ALIAS)
    release = index.removeprefix(f"{wire.ITEM_ALIAS}-")
    with closing(FeastFeatures(settings.feast)) as features:
        plain, own = (
            features.call(FeatureQuery("item", of, [1, 3, 5])) for of in (None, release)
        )
    return release, plain == own


def test_going_live_that_is_killed(standing: Standing) -> None:
    """The one before answers, or the new one, whole, as soon as the pointer has moved."""
    settings = standing.settings.model_copy(update={"kept_releases": 2})
    for step in SYNC[:-1]:
        step.main(settings)
    kill_at = 0
    new: list[CheckedRequest] = []
    while True:
        kill_at += 1
        with writes(settings.exchange_dir, kill_at) as written:
            s1_go_live.main(settings)
        if not written.dead:
            break
        if live(settings).manifest.release == standing.release:
            new = new or answer(settings, live(settings))
            assert sum(len(each.scores) for each in new) > 100
            assert same(answer(settings, live(settings)), new), written.last
        else:
            assert not new, f"{written.last}: the pointer has moved back"
            assert standing.is_served(), written.last
    assert new, "it was killed after the pointer had moved, too"
    assert named(settings) == (standing.release, True)
    kept = {standing.release, standing.published.manifest.release}
    assert [store.releases() for store in Stores.of(settings)] == [kept] * 4
