"""A release's items loaded into a real Elasticsearch by Spark: the documents that the step alone writes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
from elasticsearch.helpers import scan

from data_exchange_center import artifacts, wire
from data_exchange_center.columns import Columns
from data_exchange_center.release import Manifest
from data_exchange_center.release_parts import release_of_artifacts
from data_exchange_center.settings import Settings, SparkSettings
from data_exchange_center.steps import CheckError
from offline_to_online.rows import ItemRow, Search, item_rows, sampled_searches
from offline_to_online.stores.base import elastic_client
from offline_to_online.stores.elasticsearch import ElasticsearchStore
from online.stack.elasticsearch.service import ELASTICSEARCH
from tests.cluster.needs_spark import needs_spark
from tests.free_ports import settings_on_free_ports
from tests.own_stack import own_stack
from tests.synthetic_release import write_artifacts

pytestmark = needs_spark


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings of an Elasticsearch of this module; Spark is a driver and two executors in own processes."""
    settings = settings_on_free_ports(tmp_path_factory.mktemp("exchange"))
    update = {"engine": "spark", "spark": SparkSettings(master="local-cluster[2,1,1024]", partitions=3)}
    settings = settings.model_copy(update=update)
    write_artifacts(settings.exchange_dir)
    with own_stack(settings, [ELASTICSEARCH]), pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECSYS_ELASTICSEARCH__PORT", str(settings.elasticsearch.port))  # for the job
        yield settings


@pytest.fixture(scope="module")
def manifest(settings: Settings) -> Manifest:
    return release_of_artifacts(settings)


Content = tuple[Sequence[ItemRow], Mapping[str, Sequence[Search]]]


@pytest.fixture(scope="module")
def content(settings: Settings, manifest: Manifest) -> Content:
    return item_rows(settings.exchange_dir), sampled_searches(settings.exchange_dir, manifest, 20)


def documents(settings: Settings, release: str) -> dict[str, Any]:
    """All that lies in the release's index, by its key."""
    with elastic_client(settings) as client:
        return {hit["_id"]: hit["_source"] for hit in scan(client, index=wire.item_index(release))}


def test_executors_send_what_the_step_sends(settings: Settings, manifest: Manifest, content: Content) -> None:
    """And what searches find is checked as ever."""
    alone = ElasticsearchStore(settings.model_copy(update={"engine": "pandas"}))
    alone.sync(manifest, *content)
    expected = documents(settings, manifest.release)
    assert set(expected) == {str(row.itemid) for row in content[0]}
    alone.delete([manifest.release])
    store = ElasticsearchStore(settings)
    store.sync(manifest, *content)
    assert store.is_checked(manifest.release)
    assert documents(settings, manifest.release) == expected


def test_what_was_changed_is_written_over_and_what_is_too_much_goes(
    settings: Settings, manifest: Manifest, content: Content
) -> None:
    store, index = ElasticsearchStore(settings), wire.item_index(manifest.release)
    store.sync(manifest, *content)
    expected = documents(settings, manifest.release)
    with elastic_client(settings) as client:
        changed = {wire.ITEM_TITLE: "another"}
        client.update(index=index, id=str(content[0][0].itemid), doc=changed, refresh=True)
        client.index(index=index, id="999999", document={wire.ITEM_ID: 999999}, refresh=True)
    store.sync(manifest, *content)
    assert documents(settings, manifest.release) == expected


def test_an_item_that_spark_did_not_see_is_missed(settings: Settings, manifest: Manifest, content: Content) -> None:
    """The step compares all documents with its own rows: nothing of what executors say is believed."""
    items = artifacts.ITEMS.read(settings.exchange_dir)
    ElasticsearchStore(settings).delete([manifest.release])
    artifacts.ITEMS.write(settings.exchange_dir, items[items[Columns.ITEM] != content[0][0].itemid])
    try:
        with pytest.raises(CheckError, match=f"holds {len(items) - 1} documents, the source {len(items)} items"):
            ElasticsearchStore(settings).sync(manifest, *content)
    finally:
        artifacts.ITEMS.write(settings.exchange_dir, items)
