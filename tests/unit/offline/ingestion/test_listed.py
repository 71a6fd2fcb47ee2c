"""Attributes by the type of their column."""

from __future__ import annotations

import pyarrow as pa
import pytest

from offline.ingestion.declaration import AttributeSpec, UsersTable
from offline.ingestion.identifiers import Register
from offline.ingestion.listed import read_users
from offline.ingestion.tables import MadeRows


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())]
)
def test_digits_in_a_column_of_texts_stay_texts(kind: pa.DataType) -> None:
    rows = MadeRows("users", pa.table({"id": ["a", "b"], "zip": pa.array(["10115", "20095"]).cast(kind)}))
    declared = UsersTable(id="id", attributes={"zip": AttributeSpec(kind="categorical")})
    assert read_users(rows, declared, Register()).columns["zip"].tolist() == ["10115", "20095"]
