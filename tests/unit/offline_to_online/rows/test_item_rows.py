from __future__ import annotations

from pathlib import Path

import pytest

from data_exchange_center import artifacts
from data_exchange_center.columns import Columns, vector_of
from data_exchange_center.recipes import DEFAULT, SOURCE, Recipe
from offline_to_online.rows import item_rows
from tests.synthetic_release import write_artifacts


@pytest.mark.parametrize("recipe", [SOURCE, DEFAULT], ids=lambda recipe: recipe.name)
def test_items_without_a_vector_are_documents_without_one(tmp_path: Path, recipe: Recipe) -> None:
    write_artifacts(tmp_path, recipe=recipe.name)
    rows = item_rows(tmp_path)
    vectors = artifacts.ITEM_VECTORS.read(tmp_path).set_index(Columns.ITEM)
    assert [row.itemid for row in rows] == sorted(artifacts.ITEMS.read(tmp_path)[Columns.ITEM])
    some = item_rows(tmp_path, (rows[2].itemid, rows[5].itemid))
    assert [row.document() for row in some] == [row.document() for row in rows[2:6]]
    for channel in recipe.recall.channels:
        field = vector_of(channel.name)
        trained = set(vectors.index[vectors[field].notna()])
        assert {row.itemid for row in rows if field in row.document()} == trained
        assert len(trained) < len(rows)
