"""A release loaded by Spark into a real Elasticsearch, and into a real Feast and Redis: what the step alone writes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd
import pytest
from elasticsearch.helpers import scan

from data_exchange_center import artifacts, wire
from data_exchange_center.columns import Columns, Entity
from data_exchange_center.manifest import Manifest
from data_exchange_center.release_parts import OwnIds, release_of_artifacts
from data_exchange_center.settings import Settings
from data_exchange_center.steps import CheckError
from offline_to_online.rows import ItemRow, feature_frames, feature_ids, item_rows, newest_event
from offline_to_online.stores import feast
from offline_to_online.stores.base import elastic_client
from offline_to_online.stores.elasticsearch import ElasticsearchStore
from offline_to_online.stores.feast import FeastStore, Frames
from stack.elasticsearch.service import ELASTICSEARCH
from stack.feast.service import FEAST
from stack.redis.service import REDIS
from tests.cluster.needs_spark import needs_spark
from tests.free_ports import settings_on_free_ports
from tests.own_stack import own_stack
from tests.redis_of import redis_of
from tests.synthetic_release import write_artifacts

pytestmark = needs_spark


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings of three services of this module; Spark is a driver and two executors in own processes."""
    settings = settings_on_free_ports(tmp_path_factory.mktemp("exchange"))
    update = {
        "engine": "spark",
        "redis": settings.redis.model_copy(update={"timeout_s": 5.0}),
        "feast": settings.feast.model_copy(update={"timeout_s": 5.0}),  # on a busy machine
    }
    settings = settings.model_copy(update=update)
    write_artifacts(settings.exchange_dir)
    with own_stack(settings, [ELASTICSEARCH, REDIS, FEAST]), pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECSYS_SPARK__MASTER", "local-cluster[2,1,1024]")
        patch.setenv("RECSYS_SPARK__PARTITIONS", "3")
        patch.setenv("RECSYS_ELASTICSEARCH__PORT", str(settings.elasticsearch.port))  # for the job
        yield settings


@pytest.fixture(scope="module")
def manifest(settings: Settings) -> Manifest:
    return release_of_artifacts(settings)


# Elasticsearch

Items = Sequence[ItemRow]


@pytest.fixture(scope="module")
def items(settings: Settings) -> Items:
    return item_rows(settings.exchange_dir)


def sync(store: ElasticsearchStore, manifest: Manifest, items: Items) -> None:
    store.load(manifest, items)
    store.check(manifest, items)


def documents(settings: Settings, release: str) -> dict[str, Any]:
    """All that lies in the release's index, by its key."""
    with elastic_client(settings) as client:
        return {hit["_id"]: hit["_source"] for hit in scan(client, index=wire.item_index(release))}


def test_executors_send_the_documents_that_the_step_sends(settings: Settings, manifest: Manifest, items: Items) -> None:
    """And what searches find is checked as ever."""
    alone = ElasticsearchStore(settings.model_copy(update={"engine": "pandas"}))
    sync(alone, manifest, items)
    expected = documents(settings, manifest.release)
    assert set(expected) == {str(row.number) for row in items}
    alone.delete([manifest.release])
    store = ElasticsearchStore(settings)
    sync(store, manifest, items)
    assert store.is_checked(manifest.release)
    assert documents(settings, manifest.release) == expected


def test_an_item_that_spark_did_not_see_is_missed(settings: Settings, manifest: Manifest, items: Items) -> None:
    """The step compares all documents with its own rows: nothing of what executors say is believed."""
    whole = artifacts.ITEMS.read(settings.exchange_dir)
    ElasticsearchStore(settings).delete([manifest.release])
    artifacts.ITEMS.write(settings.exchange_dir, whole[whole[Columns.ITEM] != items[0].number])
    try:
        with pytest.raises(CheckError, match=f"holds {len(whole) - 1} documents, the source {len(whole)} items"):
            sync(ElasticsearchStore(settings), manifest, items)
    finally:
        artifacts.ITEMS.write(settings.exchange_dir, whole)


# Feast

Features = tuple[Frames, pd.Timestamp, Mapping[Entity, OwnIds]]


@pytest.fixture(scope="module")
def features(settings: Settings, manifest: Manifest) -> Features:
    frames = feature_frames(settings.exchange_dir, manifest.feature_spec)
    return frames, newest_event(settings.exchange_dir), feature_ids(settings.exchange_dir)


@pytest.fixture(scope="module")
def by_files(
    settings: Settings, manifest: Manifest, features: Features, tmp_path_factory: pytest.TempPathFactory
) -> dict[bytes, dict[bytes, bytes]]:
    """Rows that the file store writes of the same release, in a repository and a database of its own."""
    own = {
        "engine": "pandas",
        "exchange_dir": tmp_path_factory.mktemp("files"),
        "redis": settings.redis.model_copy(update={"feast_db": 2}),
    }
    other = settings.model_copy(update=own)
    feast.write_features(other, manifest.release, manifest.feature_spec, *features[:2])
    feast.materialize(other, manifest.release)
    return rows(other)


def rows(settings: Settings) -> dict[bytes, dict[bytes, bytes]]:
    """All that lies in Feast's database."""
    with redis_of(settings, db=settings.redis.feast_db) as client:
        return {key: client.hgetall(key) for key in client.scan_iter()}


def test_executors_write_the_features_that_the_file_store_writes(
    settings: Settings, manifest: Manifest, features: Features, by_files: dict[bytes, dict[bytes, bytes]]
) -> None:
    """Each value is the same in Redis, and read back through the feature server, which has no Spark."""
    store = FeastStore(settings)
    frames, at, own_ids = features
    store.load(manifest, frames, at)
    assert rows(settings) == by_files
    assert len(by_files) == sum(len(frame) for frame in frames.values())
    store.check(manifest, frames, own_ids)


def test_the_file_store_reloads_what_redis_lost(
    settings: Settings, manifest: Manifest, features: Features, by_files: dict[bytes, dict[bytes, bytes]]
) -> None:
    """It does not mind that Spark has registered the release."""
    with redis_of(settings, db=settings.redis.feast_db) as client:
        client.flushdb()
    FeastStore(settings.model_copy(update={"engine": "pandas"})).check(manifest, features[0], features[2])
    assert rows(settings) == by_files
