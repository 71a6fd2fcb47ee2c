"""`make quality` over the log of exposures and events in a real Redis, and the artifacts of a made-up release."""

import time
from collections.abc import Iterator
from contextlib import closing

import pytest
import redis

from data_exchange_center import wire
from data_exchange_center.dataset import OwnId
from data_exchange_center.events import Event
from data_exchange_center.manifest import Manifest, Published
from data_exchange_center.release_parts import read_own_ids, release_of_artifacts
from data_exchange_center.settings import Settings
from extras.events.log import EventLog, Recording, exposures_key
from extras.trials.exposures import Exposure
from extras.trials.measure_quality import measure
from extras.trials.store import TrialStore, report_key
from online.recommend.outcomes import NoReleaseError
from tests.synthetic_release import write_artifacts

USERS, LISTS, WINDOW_S = 400, 300, 100
NOW = int(time.time())


@pytest.fixture(autouse=True)
def window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECSYS_QUALITY__WINDOW_S", f"{WINDOW_S}")


@pytest.fixture(scope="module")
def manifest(settings: Settings) -> Manifest:
    write_artifacts(settings.exchange_dir, users=USERS)
    return release_of_artifacts(settings)


@pytest.fixture
def active(
    settings: Settings, manifest: Manifest, client: redis.Redis
) -> Iterator[Manifest]:
    published = Published(manifest=manifest, triton_version=1)
    client.set(wire.manifest_key(manifest.release), published.model_dump_json())
    client.set(wire.LIVE_KEY, manifest.release)
    client.lpush(wire.PUBLISHED_KEY, manifest.release)
    yield manifest
    client.delete(
        wire.LIVE_KEY,
        wire.PUBLISHED_KEY,
        report_key(manifest.dataset.base_name, WINDOW_S),
    )


def shown(
    manifest: Manifest, user: OwnId, items: tuple[OwnId, ...], at: int
) -> Exposure:
    return Exposure(
        experiment="",
        arm="",
        recommendation=f"{user} {at}",
        dataset=manifest.dataset.base_name,
        userid=user,
        release=manifest.release,
        timestamp=at,
        answered=at * 1000,
        items=items,
    )


def test_hit_rate_and_drift_are_measured_and_kept(
    settings: Settings, active: Manifest, client: redis.Redis
) -> None:
    ids, dataset = read_own_ids(settings.exchange_dir), active.dataset
    users, items = list(ids.users.values()), tuple(list(ids.items.values())[:5])
    at = NOW - 2 * WINDOW_S
    exposures = [shown(active, user, items, at) for user in users[:LISTS]]
    likes = [
        Event(f"like {user}", user, items[0], "rating", at + 10, 5)
        for user in users[:30]
    ]
    with (
        closing(TrialStore(settings.redis)) as store,
        closing(EventLog(settings.redis)) as log,
    ):
        # the last one's window is not over
        store.expose([*exposures, shown(active, users[0], items, NOW)])
        log.call(Recording(dataset.base_name, likes))
        assert not any(
            client.exists(exposures_key(partition))
            for partition in range(wire.EVENT_PARTITIONS)
        ), "they have a log of their own"
    report, problem = measure(settings, NOW)
    assert problem == ""
    assert [(each.release, each.lists, each.hits) for each in report.hit_rates] == [
        (active.release, LISTS, 30)
    ]
    drift = {each.feature: each.psi for each in report.drift}
    assert drift["gender"] < 0.2, "the users are those of the training data"
    assert [each.psi for each in report.drift] == sorted(drift.values(), reverse=True)
    with closing(TrialStore(settings.redis)) as store:
        assert store.report(dataset.base_name, WINDOW_S) == report


def test_unknown_users_are_drift_and_artifacts_must_match(
    settings: Settings, active: Manifest
) -> None:
    newest = max(read_own_ids(settings.exchange_dir).users.values())
    exposures = [shown(active, newest + n, (1,), NOW - 50) for n in range(1, 3 * LISTS)]
    with closing(TrialStore(settings.redis)) as store:
        store.expose(exposures)
    report, _ = measure(settings, NOW)
    assert (
        next(each.psi for each in report.drift if each.feature == "gender")
        > report.threshold
    )
    write_artifacts(settings.exchange_dir, users=USERS, seed=1)
    report, problem = measure(settings, NOW)
    assert report.drift == []
    assert active.release in problem


def test_without_an_active_release_it_says_what_to_do(settings: Settings) -> None:
    with pytest.raises(NoReleaseError):
        measure(settings, NOW)
