from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from elasticsearch import Elasticsearch
from hypothesis import given
from hypothesis import strategies as st

from data_exchange_center import artifacts, wire
from data_exchange_center.columns import Columns
from data_exchange_center.recipes import SOURCE
from offline_to_online.load import es_checks
from offline_to_online.load.es_checks import _check_document, _overlap
from offline_to_online.load.es_index import ItemRow, index_body, item_rows
from offline_to_online.load.redis_rows import UserRow
from offline_to_online.load.services import CheckError
from tests.synthetic_release import write_artifacts

ROW = ItemRow(itemid=7, title="Film", genres=(1, 2), vector=np.array([0.5, 0.25], np.float32))


def test_the_index_ranks_by_the_models_own_metric_on_exact_floats() -> None:
    field = index_body(18)["mappings"]["properties"][wire.ITEM_VECTOR]
    assert field["dims"] == 18
    assert field["similarity"] == "max_inner_product"
    assert field["index_options"]["type"] == "hnsw"  # int8_hnsw, the default, would round


def test_items_without_a_vector_are_documents_without_one(tmp_path: Path) -> None:
    write_artifacts(tmp_path)
    rows = item_rows(tmp_path)
    trained = set(artifacts.ITEM_VECTORS.read(tmp_path)[Columns.ITEM])
    assert [row.itemid for row in rows] == sorted(artifacts.ITEMS.read(tmp_path)[Columns.ITEM])
    assert {row.itemid for row in rows if wire.ITEM_VECTOR in row.document()} == trained
    assert len(trained) < len(rows)


def test_a_document_equal_to_its_source_passes() -> None:
    _check_document(ROW, ROW.document())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (wire.ITEM_TITLE, "Other"),
        (wire.ITEM_GENRES, [1]),
        (wire.ITEM_VECTOR, [0.5, 0.26]),
        (wire.ITEM_VECTOR, None),
        ("surplus", 1),
    ],
)
def test_a_document_unlike_its_source_is_named(field: str, value: object) -> None:
    with pytest.raises(CheckError, match=f"item 7, field '{field}'"):
        _check_document(ROW, {**ROW.document(), field: value})


def test_a_missing_document_is_named() -> None:
    with pytest.raises(CheckError, match="item 7: no document"):
        _check_document(ROW, None)


@given(st.integers(1, 60), st.integers(0, 59), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_the_exact_top_overlaps_wholly_and_a_worse_item_does_not_count(
    n: int, n_seen: int, candidates: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    itemids, products = np.arange(1, n + 1), random.permutation(n).astype(float)
    seen = random.choice(itemids, min(n_seen, n), replace=False)
    unseen = [i for i in np.argsort(-products) if itemids[i] not in seen]
    best = [(int(itemids[i]), 0.0) for i in unseen[:candidates]]
    assert _overlap(itemids, products, seen, best, candidates) == 1
    if len(unseen) > candidates:
        replaced = [*best[:-1], (int(itemids[unseen[-1]]), 0.0)]
        assert _overlap(itemids, products, seen, replaced, candidates) == pytest.approx(1 - 1 / len(best))


def test_a_tie_at_the_last_place_is_as_good() -> None:
    itemids, products = np.array([1, 2, 3]), np.array([3.0, 2.0, 2.0])
    for last in (2, 3):
        assert _overlap(itemids, products, np.array([], np.int32), [(1, 0.0), (last, 0.0)], 2) == 1


@pytest.mark.parametrize(("missed", "said"), [(5, ""), (6, r"worst: user 42, 0\.9400; at least 0\.95")])
def test_the_user_who_is_served_worst_counts_too(monkeypatch: pytest.MonkeyPatch, missed: int, said: str) -> None:
    """Two hundred users have all of their hundred exact candidates, one lacks a few: the mean hides it."""
    items, candidates = 200, 100
    rows = [ItemRow(n, "", (), np.array([n], np.float32)) for n in range(1, items + 1)]
    nothing = np.empty(0, np.int32)
    users = [UserRow(n, nothing, np.array([1], np.float32), nothing) for n in range(1, 201)]
    best = [(n, 0.0) for n in range(items, items - candidates, -1)]
    hits = [best[missed:] if user.userid == 42 else best for user in users]
    monkeypatch.setattr(es_checks, "_msearch", lambda *_: hits)
    recall = SOURCE.recall.model_copy(update={"candidates": candidates})
    attempt = partial(es_checks.check_candidates, cast(Elasticsearch, None), "aaaaaaaaaaaa", users, rows, recall)
    if said:
        with pytest.raises(CheckError, match=said):
            attempt()
    else:
        outcome = attempt()
        assert (outcome.min_overlap, outcome.exact) == (0.95, 199)
