"""Attributes by the type of their column."""

from __future__ import annotations

import pyarrow as pa
import pytest

from data_exchange_center.steps import StepError
from offline.ingestion.declaration import AttributeSpec, ItemsTable, UsersTable
from offline.ingestion.identifiers import Register
from offline.ingestion.listed import read_items, read_users
from offline.ingestion.tables import MadeRows


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())]
)
def test_digits_in_a_column_of_texts_stay_texts(kind: pa.DataType) -> None:
    rows = MadeRows("users", pa.table({"id": ["a", "b"], "zip": pa.array(["10115", "20095"]).cast(kind)}))
    declared = UsersTable(id="id", attributes={"zip": AttributeSpec(kind="categorical")})
    assert read_users(rows, declared, Register()).columns["zip"].tolist() == ["10115", "20095"]


@pytest.mark.parametrize("price", [2e15, -2e15])
def test_a_number_too_large_to_be_stored_is_refused(price: float) -> None:
    rows = MadeRows("items", pa.table({"id": ["a", "b"], "price": [1.5, price]}))
    declared = ItemsTable(id="id", attributes={"price": AttributeSpec(kind="numeric")})
    with pytest.raises(
        StepError, match=r"items, entry 2, column 'price': a number of at most 1e\+15 either way expected"
    ):
        read_items(rows, declared, Register())
