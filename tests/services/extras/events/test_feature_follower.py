"""Users' features in a real Feast, after events in a real Redis: what Feast answers is what the user's state says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any, Final

import pytest
import redis

from data_exchange_center import wire
from data_exchange_center.columns import Columns
from data_exchange_center.release import Manifest, ParityRecord
from data_exchange_center.release_parts import read_item_ids, release_of_artifacts
from data_exchange_center.settings import Settings
from extras.events import s2_features_to_feast
from extras.events.events import Event
from extras.events.feast_layout import feast_online_key
from extras.events.feature_follower import follow
from extras.events.log import EventLog, Recording
from offline_to_online.rank import s1_feature_to_feast
from offline_to_online.recall import s1_user_to_redis
from offline_to_online.releases import open_release, record_parity
from offline_to_online.stores import feast
from online.clients.redis import RedisUsers, UserQuery
from online.stack.feast.service import FEAST
from online.stack.redis.service import REDIS
from tests.free_ports import settings_on_free_ports
from tests.own_stack import own_stack
from tests.synthetic_release import write_artifacts

NOW: Final = 1_000_300_000
CHECKED: Final = ParityRecord(users=1, pairs=1, largest_difference=0, triton_model="m", triton_version=1)


class Killed(BaseException):
    """As if the process had ended here."""


def loaded(settings: Settings) -> Manifest:
    """The release of the artifacts, in Redis and Feast; its check, which needs the other services, is made up."""
    s1_user_to_redis.main(settings)
    s1_feature_to_feast.main(settings)
    manifest = release_of_artifacts(settings)
    record_parity(settings, manifest, CHECKED)
    return manifest


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Of a Redis and a Feast of this module."""
    settings = settings_on_free_ports(tmp_path_factory.mktemp("exchange"))
    settings = settings.model_copy(update={"redis": settings.redis.model_copy(update={"timeout_s": 5.0})})
    write_artifacts(settings.exchange_dir)
    with own_stack(settings, [REDIS, FEAST]):
        yield settings


@pytest.fixture(scope="module")
def manifest(settings: Settings) -> Manifest:
    manifest = loaded(settings)
    with redis.Redis(port=settings.redis.port) as client:
        client.lpush(wire.HISTORY_KEY, manifest.release)
    return manifest


@pytest.fixture
def features(settings: Settings) -> Iterator[redis.Redis]:
    """The database of Feast's online store."""
    with redis.Redis(port=settings.redis.port, db=settings.redis.feast_db) as client:
        yield client


def in_feast(settings: Settings, manifest: Manifest, userid: int) -> dict[str, Any]:
    """The feature server's answer for a user, by name."""
    service = wire.feast_name(wire.USER_SERVICE, manifest.release)
    answer = feast.ask(settings, service, Columns.USER, [userid]).json()
    values = [result["values"][0] for result in answer["results"]]
    return dict(zip(answer["metadata"]["feature_names"], values, strict=True))


def count(settings: Settings, manifest: Manifest, userid: int) -> int:
    """How many events the history has that a request sees."""
    items = {own: number for number, own in read_item_ids(settings.exchange_dir).items()}
    with closing(RedisUsers(settings.redis)) as users:
        user = users.call(UserQuery.of(userid, manifest)).user
    assert user is not None
    return len(user.current(manifest.dataset, items, None).history)


def rate(log: EventLog, settings: Settings, manifest: Manifest, userid: int, number: int = 1) -> None:
    """Events of items that the user has not rated yet."""
    with closing(RedisUsers(settings.redis)) as users:
        user = users.call(UserQuery.of(userid, manifest)).user
    assert user is not None
    known = {*user.history.itemids.tolist(), *(each.event.itemid for each in user.events)}
    items = [item for item in read_item_ids(settings.exchange_dir) if item not in known][:number]
    assert all(
        log.call(
            Recording(
                manifest.dataset.base_name,
                [Event(f"u{userid}-{item}", userid, item, "rating", NOW + item, 5.0) for item in items],
            )
        )
    )


def test_feast_answers_what_the_state_says(
    settings: Settings, manifest: Manifest, log: EventLog, features: redis.Redis, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {userid: in_feast(settings, manifest, userid) for userid in (3, 4, 5)}
    rate(log, settings, manifest, 3, 2)
    rate(log, settings, manifest, 4)
    s2_features_to_feast.main(settings)
    assert f"release {manifest.release}: features of 2 users in Feast" in capsys.readouterr().out
    for userid, more in ((3, 2), (4, 1), (5, 0)):
        told = before[userid][Columns.N_RATINGS] + more
        assert in_feast(settings, manifest, userid) == before[userid] | {Columns.N_RATINGS: told}
        assert count(settings, manifest, userid) == told
    key: Any = feast_online_key(3)
    rows = features.hgetall(key)
    s2_features_to_feast.main(settings)
    assert "features of 0 users" in capsys.readouterr().out
    assert features.hgetall(key) == rows


@pytest.mark.parametrize("moment", ["before", "after"])
def test_killed_around_the_write_and_run_again(
    moment: str, settings: Settings, manifest: Manifest, log: EventLog, client: redis.Redis
) -> None:
    original = feast.write_users

    def mortal(*arguments: Any) -> None:
        if moment == "after":
            original(*arguments)
        raise Killed

    rate(log, settings, manifest, 6)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(feast, "write_users", mortal)
        with pytest.raises(Killed):
            follow(settings, client)
    rate(log, settings, manifest, 6)
    assert follow(settings, client) == [(manifest.release, 1, "")]
    assert in_feast(settings, manifest, 6)[Columns.N_RATINGS] == count(settings, manifest, 6)


@pytest.mark.parametrize("killed", [False, True])
def test_who_is_forgotten_while_the_rows_are_written_has_none(
    killed: bool, settings: Settings, manifest: Manifest, log: EventLog, client: redis.Redis, features: redis.Redis
) -> None:
    userid, original = 7 + killed, feast.write_users

    def forgetting(*arguments: Any) -> None:
        log.forget(userid, manifest.dataset.base_name)
        original(*arguments)
        assert features.exists(feast_online_key(userid)), "written after it was deleted"
        if killed:
            raise Killed

    rate(log, settings, manifest, userid)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(feast, "write_users", forgetting)
        if killed:
            with pytest.raises(Killed):
                follow(settings, client)
        else:
            follow(settings, client)
    follow(settings, client)
    assert not features.exists(feast_online_key(userid))
    assert in_feast(settings, manifest, userid)[Columns.N_RATINGS] is None


def test_a_release_that_is_loaded_again_is_followed_from_the_beginning(
    settings: Settings, manifest: Manifest, log: EventLog, client: redis.Redis, features: redis.Redis
) -> None:
    before = in_feast(settings, manifest, 9)[Columns.N_RATINGS]
    rate(log, settings, manifest, 9)
    log.forget(10, manifest.dataset.base_name)
    follow(settings, client)
    assert in_feast(settings, manifest, 9)[Columns.N_RATINGS] == before + 1
    loaded(settings)
    assert in_feast(settings, manifest, 9)[Columns.N_RATINGS] == before
    assert not features.exists(feast_online_key(10)), "a load brings nobody back"
    ((_, users, _),) = follow(settings, client)
    assert users > 0
    assert in_feast(settings, manifest, 9)[Columns.N_RATINGS] == count(settings, manifest, 9) == before + 1


def test_a_release_that_is_being_loaded_is_left_alone(
    settings: Settings, manifest: Manifest, log: EventLog, client: redis.Redis
) -> None:
    """Where the load begins while the rows are written, the place stays: the load may undo them."""
    original = feast.write_users

    def beginning(*arguments: Any) -> None:
        original(*arguments)
        open_release(settings)

    rate(log, settings, manifest, 11)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(feast, "write_users", beginning)
        assert follow(settings, client)[0].users == 1
    ((_, users, why_not),) = follow(settings, client)
    assert (users, "being loaded" in why_not) == (0, True)
    record_parity(settings, manifest, CHECKED)
    assert follow(settings, client)[0].users == 1
