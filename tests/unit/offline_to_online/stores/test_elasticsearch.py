"""The index in Elasticsearch: its mapping, and what its checks find."""

from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace
from typing import cast
from unittest.mock import MagicMock

import numpy as np
import pytest

from data_exchange_center import wire
from data_exchange_center.candidates import ItemQuery
from data_exchange_center.fusion import NO_HITS, Hits
from data_exchange_center.manifest import Manifest
from data_exchange_center.recipes import SOURCE
from data_exchange_center.settings import Settings
from data_exchange_center.steps import CheckError
from data_exchange_center.wire import vector_of
from offline_to_online.rows import ItemRow
from offline_to_online.stores import elasticsearch
from offline_to_online.stores.elasticsearch import (
    ElasticsearchStore,
    check_document,
    check_self_first,
)
from online.clients.elastic import ElasticItems

FIELD = vector_of("fm")
ROW = ItemRow(
    number=7,
    own_id="sku 7",
    title="Film",
    terms=(1, 2),
    attributes={"brand": ["acme"], "price": 9.5},
    vectors={"fm": np.array([0.5, 0.25], np.float32)},
)
MANIFEST = cast(Manifest, SimpleNamespace(release="aaaaaaaaaaaa", recipe=SOURCE))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (wire.ITEM_OWN_ID, "7"),
        (wire.ITEM_TITLE, "Other"),
        (wire.ITEM_ATTRIBUTES, {"brand": ["acme"], "price": None}),
        (wire.ITEM_GENRES, [1]),
        (FIELD, [0.5, 0.26]),
        (FIELD, None),
        ("surplus", 1),
    ],
)
def test_missing_or_different_documents_are_named(field: str, value: object) -> None:
    check_document(ROW, ROW.document())
    with pytest.raises(CheckError, match="item 'sku 7': no document"):
        check_document(ROW, None)
    with pytest.raises(CheckError, match=f"item 'sku 7', field '{field}'"):
        check_document(ROW, {**ROW.document(), field: value})


@pytest.mark.parametrize(
    ("hits", "said"),
    [
        (
            Hits(np.array([2, 1]), np.array([0.3125, 0.3])),
            "",
        ),  # equal to its neighbour: a tie
        (
            Hits(np.array([2, 1]), np.array([1.1, 1.0])),
            r"item 1: .* finds item 'two' first, by 1\.1.*itself is 0\.3125",
        ),
        (NO_HITS, r"item 1: .* finds nothing"),
    ],
)
def test_an_item_must_find_itself_or_its_equal(
    monkeypatch: pytest.MonkeyPatch, hits: Hits, said: str
) -> None:
    row = replace(ROW, number=1, own_id=1)
    other = replace(ROW, number=2, own_id="two", vectors={})

    def call(_: ElasticItems, query: ItemQuery) -> dict[str, Hits]:
        return {"fm": hits if query.vectors else NO_HITS}

    monkeypatch.setattr(ElasticItems, "call", call)
    with nullcontext() if not said else pytest.raises(CheckError, match=said):
        assert check_self_first(Settings(), MANIFEST, [row, other]) == {"fm": 1}


@pytest.mark.parametrize("meta", [None, {}, {"checked": False}, {"checked": True}])
def test_an_interrupted_load_is_deleted_a_whole_index_kept(
    meta: dict[str, bool] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its mark is taken away although its documents are what they should be, so that none is written."""
    index = wire.item_index("aaaaaaaaaaaa")
    client = MagicMock()
    quiet = client.options.return_value
    found = {} if meta is None else {index: {"mappings": {"_meta": meta}}}
    quiet.indices.get_mapping.return_value = found
    quiet.cluster.health.return_value = {"timed_out": False}
    client.count.return_value = {"count": 1}
    client.mget.return_value = {"docs": [{"_source": ROW.document()}]}
    written: list[str] = []
    monkeypatch.setattr(elasticsearch, "put_documents", lambda *_: written.append(""))
    monkeypatch.setattr(ElasticsearchStore, "client", lambda _: nullcontext(client))
    store = ElasticsearchStore(Settings())
    store.load("aaaaaaaaaaaa", [ROW], {"fm": 2}, "flat")
    created = 0 if meta else 1
    assert quiet.indices.delete.call_count == created
    assert client.indices.create.call_count == len(written) == created
    marks = client.indices.put_mapping
    marks.assert_called_once_with(index=index, meta={"checked": False})
    # a failed check leaves it unmarked
    client.mget.return_value = {"docs": [{}]}
    with pytest.raises(CheckError, match="no document"):
        store.check(MANIFEST, [ROW])
    assert marks.call_count == 1
