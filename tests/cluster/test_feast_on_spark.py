"""A release loaded into a real Feast by its Spark store: executors write to a real Redis what the file store writes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pandas as pd
import pytest
import redis

from data_exchange_center.dataset import OwnIds
from data_exchange_center.features import Entity
from data_exchange_center.release import Manifest
from data_exchange_center.release_parts import release_of_artifacts
from data_exchange_center.settings import Settings, SparkSettings
from offline_to_online.rows import feature_frames, feature_ids, newest_event
from offline_to_online.stores import feast
from offline_to_online.stores.feast import FeastStore, Frames
from online.stack.feast.service import FEAST
from online.stack.redis.service import REDIS
from tests.cluster.needs_spark import needs_spark
from tests.free_ports import settings_on_free_ports
from tests.own_stack import own_stack
from tests.synthetic_release import write_artifacts

pytestmark = needs_spark


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings of a Redis and a Feast of this module; Spark is a driver and two executors in own processes."""
    settings = settings_on_free_ports(tmp_path_factory.mktemp("exchange"))
    update = {
        "engine": "spark",
        "spark": SparkSettings(master="local-cluster[2,1,1024]", partitions=3),
        "redis": settings.redis.model_copy(update={"timeout_s": 5.0}),
        "feast": settings.feast.model_copy(update={"timeout_s": 5.0}),  # on a busy machine
    }
    settings = settings.model_copy(update=update)
    write_artifacts(settings.exchange_dir)
    with own_stack(settings, [REDIS, FEAST]):
        yield settings


Content = tuple[Frames, pd.Timestamp, Mapping[Entity, OwnIds]]


@pytest.fixture(scope="module")
def manifest(settings: Settings) -> Manifest:
    return release_of_artifacts(settings)


@pytest.fixture(scope="module")
def content(settings: Settings, manifest: Manifest) -> Content:
    frames = feature_frames(settings.exchange_dir, manifest.feature_spec)
    return frames, newest_event(settings.exchange_dir), feature_ids(settings.exchange_dir)


@pytest.fixture(scope="module")
def by_files(
    settings: Settings, manifest: Manifest, content: Content, tmp_path_factory: pytest.TempPathFactory
) -> dict[bytes, dict[bytes, bytes]]:
    """Rows that the file store writes of the same release, in a repository and a database of its own."""
    other = settings.model_copy(
        update={
            "engine": "pandas",
            "exchange_dir": tmp_path_factory.mktemp("files"),
            "redis": settings.redis.model_copy(update={"feast_db": 2}),
        }
    )
    feast.write_features(other, manifest.release, manifest.feature_spec, *content[:2])
    feast.materialize(other, manifest.release)
    return rows(other)


def rows(settings: Settings) -> dict[bytes, dict[bytes, bytes]]:
    """All that lies in Feast's database."""
    with redis.Redis(port=settings.redis.port, db=settings.redis.feast_db) as client:
        return {key: client.hgetall(key) for key in client.scan_iter()}


def test_executors_write_what_the_file_store_writes(
    settings: Settings, manifest: Manifest, content: Content, by_files: dict[bytes, dict[bytes, bytes]]
) -> None:
    """Each value is the same in Redis, and read back through the feature server, which has no Spark."""
    store = FeastStore(settings)
    frames, at, own_ids = content
    store.load(manifest, frames, at)
    assert rows(settings) == by_files
    assert len(by_files) == sum(len(frame) for frame in frames.values())
    assert store.check(manifest, frames, own_ids) == 200


def test_what_redis_has_lost_the_file_store_loads_again(
    settings: Settings, manifest: Manifest, content: Content, by_files: dict[bytes, dict[bytes, bytes]]
) -> None:
    """It does not mind that Spark has registered the release."""
    with redis.Redis(port=settings.redis.port, db=settings.redis.feast_db) as client:
        client.flushdb()
    FeastStore(settings.model_copy(update={"engine": "pandas"})).check(manifest, content[0], content[2])
    assert rows(settings) == by_files
