"""The index in Elasticsearch: its mapping, and what its checks find."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import MagicMock

import numpy as np
import pytest
from elasticsearch import Elasticsearch

from data_exchange_center import wire
from data_exchange_center.fusion import Hits
from data_exchange_center.recipes import SOURCE
from data_exchange_center.release import Manifest
from data_exchange_center.settings import Settings
from data_exchange_center.steps import CheckError
from data_exchange_center.wire import vector_of
from offline_to_online.rows import ItemRow, Search
from offline_to_online.stores import elasticsearch
from offline_to_online.stores.elasticsearch import (
    SCORE_STEP,
    ChannelIndex,
    ElasticsearchStore,
    _overlap,
    check_document,
    write_items,
)
from online.clients.elastic import magnified

FIELD = vector_of("fm")
ROW = ItemRow(
    itemid=7,
    own_id="sku 7",
    title="Film",
    genres=(1, 2),
    attributes={"brand": ["acme"], "price": 9.5},
    vectors={FIELD: np.array([0.5, 0.25], np.float32)},
)


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
def test_a_document_that_is_missing_or_unlike_its_source_is_named(field: str, value: object) -> None:
    check_document(ROW, ROW.document())
    with pytest.raises(CheckError, match="item 'sku 7': no document"):
        check_document(ROW, None)
    with pytest.raises(CheckError, match=f"item 'sku 7', field '{field}'"):
        check_document(ROW, {**ROW.document(), field: value})


(FM,) = SOURCE.recall.channels
NOTHING = np.empty(0, np.int32)


@pytest.mark.parametrize("products", [[3.0, 2.0, 2.0], [3e-9, 2e-9, 1e-9]])
def test_a_tie_at_the_last_place_is_as_good(products: list[float]) -> None:
    """A product that is as good as none next to the 1 that a search adds to it ties with the others."""
    itemids = np.array([1, 2, 3])
    for last in (2, 3):
        assert _overlap(itemids, np.array(products), NOTHING, np.array([1, last]), 2, SCORE_STEP) == 1


def test_a_small_product_that_a_magnified_search_tells_from_the_last_is_no_tie() -> None:
    products = np.array([3e-5, 2e-5, 1.99e-5])
    step = SCORE_STEP / float(magnified(SOURCE.recall))
    shares = [_overlap(np.array([1, 2, 3]), products, NOTHING, np.array([1, last]), 2, step) for last in (2, 3)]
    assert shares == [1, 0.5]


@pytest.mark.parametrize(("missed", "said"), [(5, ""), (6, r"worst: user 42, 0\.9400; at least 0\.95")])
def test_the_user_who_is_served_worst_counts_too(monkeypatch: pytest.MonkeyPatch, missed: int, said: str) -> None:
    """Two hundred users have all of their hundred exact candidates, one lacks a few: the mean hides it."""
    candidates = 100
    best = Hits(np.arange(200, 200 - candidates, -1), np.arange(200.0, 200 - candidates, -1))
    lacking = Hits(best.ids[missed:], best.scores[missed:])
    attempt = check_of(monkeypatch, [lacking if user == 42 else best for user in USERS], candidates)
    if said:
        with pytest.raises(CheckError, match=said):
            attempt()
    else:
        assert "(worst user 95.00%, identical for 199), inner products differ by at most 0.0e+00" in attempt()


def test_an_index_that_ranks_by_another_metric_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The right items in the right order, with scores that are no inner products."""
    scores = np.arange(200.0, 100, -1)
    attempt = check_of(monkeypatch, [Hits(np.arange(200, 100, -1), scores / 200)] * len(USERS), 100)
    with pytest.raises(CheckError, match=r"user 1, item \d+, channel fm: the index ranks by [01]\.\d+, the model's "):
        attempt()


def test_a_seen_item_that_comes_back_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    attempt = check_of(monkeypatch, [Hits(np.array([150]), np.array([150.0]))], 1, seen=[150, 3])
    with pytest.raises(CheckError, match=r"user 1: the seen filter let items \[150\] through"):
        attempt()


USERS = range(1, 201)


def check_of(
    monkeypatch: pytest.MonkeyPatch, hits: list[Hits], candidates: int, seen: Sequence[int] = ()
) -> Callable[[], str]:
    """The check of 200 items whose inner product with every user is their id, the index answering with ``hits``."""
    rows = [ItemRow(n, n, "", (), {}, {FIELD: np.array([n], np.float32)}) for n in range(1, 201)]
    ones = np.ones(1, np.float32)
    searches = [Search(user, ones, np.array(seen, np.int32)) for user, _ in zip(USERS, hits, strict=False)]
    monkeypatch.setattr(ChannelIndex, "search", lambda *_: hits)
    recall = SOURCE.recall.model_copy(update={"candidates": candidates})
    client = cast(Elasticsearch, None)
    return partial(ChannelIndex(client, "aaaaaaaaaaaa", rows, recall, FM).check, searches)


@pytest.mark.parametrize(
    ("hits", "said"),
    [
        (Hits(np.array([2, 1]), np.array([1.0, 0.5])), ""),  # equal to its neighbour: a tie
        (Hits(np.array([2, 1]), np.array([1.1, 1.0])), r"item 1: .* finds item 'two' first, by 1\.1.*itself is 1\.0"),
        (Hits(np.array([]), np.array([])), r"item 1: .* finds nothing"),
    ],
)
def test_an_item_must_find_itself_or_its_equal(monkeypatch: pytest.MonkeyPatch, hits: Hits, said: str) -> None:
    row = ItemRow(1, 1, "", (), {}, {FIELD: np.array([0.6, 0.8], np.float32)})
    other = ItemRow(2, "two", "", (), {}, {})
    monkeypatch.setattr(ChannelIndex, "search", lambda *_: [hits])
    client = cast(Elasticsearch, None)
    attempt = ChannelIndex(client, "aaaaaaaaaaaa", [row, other], SOURCE.recall, FM).check_self_first
    if said:
        with pytest.raises(CheckError, match=said):
            attempt()
    else:
        assert attempt() == 1


@pytest.mark.parametrize("checked", [True, False])
def test_a_failed_search_leaves_no_mark_of_an_earlier_check(monkeypatch: pytest.MonkeyPatch, checked: bool) -> None:
    """Although the documents are what they should be, so that none is written."""
    marks = {"aaaaaaaaaaaa": checked}

    def refuse(*_: object) -> ChannelIndex:
        raise CheckError("the index ranks by 2.0")

    monkeypatch.setattr(ElasticsearchStore, "client", lambda _: nullcontext(None))
    monkeypatch.setattr(elasticsearch, "mark_of", lambda _, release: marks[release])
    monkeypatch.setattr(elasticsearch, "mark", lambda _, release, *, checked: marks.update({release: checked}))
    monkeypatch.setattr(elasticsearch, "check_documents", lambda *_: None)
    monkeypatch.setattr(elasticsearch, "check_genres", lambda *_: {})
    monkeypatch.setattr(elasticsearch, "ChannelIndex", refuse)
    store = ElasticsearchStore(Settings())
    manifest = cast(Manifest, cast(Any, SimpleNamespace(release="aaaaaaaaaaaa", recipe=SOURCE)))
    store.load(manifest, [ROW])
    assert not store.is_checked("aaaaaaaaaaaa")
    with pytest.raises(CheckError):
        store.check(manifest, [ROW], {FM.name: []})
    assert not store.is_checked("aaaaaaaaaaaa")


@pytest.mark.parametrize("meta", [None, {"checked": False}])
def test_what_an_interrupted_first_load_left_is_deleted_and_a_whole_index_is_not(meta: dict[str, bool] | None) -> None:
    client, index = MagicMock(), wire.item_index("aaaaaaaaaaaa")
    quiet = client.options.return_value
    quiet.indices.get_mapping.return_value = {index: {"mappings": {"_meta": meta} if meta else {}}}
    client.count.return_value, quiet.cluster.health.return_value = {"count": 1}, {"timed_out": False}
    write_items(client, "aaaaaaaaaaaa", [ROW], {"fm": 2}, "flat", put=lambda *_: None)
    assert [quiet.indices.delete.call_count, client.indices.create.call_count] == ([0, 0] if meta else [1, 1])
    client.indices.put_mapping.assert_called_once_with(index=index, meta={"checked": False})
