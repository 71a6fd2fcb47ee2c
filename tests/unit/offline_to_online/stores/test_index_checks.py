from __future__ import annotations

import numpy as np
import pytest

from data_exchange_center import wire
from data_exchange_center.columns import vector_of
from data_exchange_center.steps import CheckError
from offline_to_online.rows import ItemRow
from offline_to_online.stores.elasticsearch import _check_document

FIELD = vector_of("fm")
ROW = ItemRow(
    itemid=7,
    own_id="sku 7",
    title="Film",
    genres=(1, 2),
    attributes={"brand": ["acme"], "price": 9.5},
    vectors={FIELD: np.array([0.5, 0.25], np.float32)},
)


def test_a_document_equal_to_its_source_passes() -> None:
    _check_document(ROW, ROW.document())


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
def test_a_document_unlike_its_source_is_named(field: str, value: object) -> None:
    with pytest.raises(CheckError, match=f"item 'sku 7', field '{field}'"):
        _check_document(ROW, {**ROW.document(), field: value})


def test_a_missing_document_is_named() -> None:
    with pytest.raises(CheckError, match="item 'sku 7': no document"):
        _check_document(ROW, None)
