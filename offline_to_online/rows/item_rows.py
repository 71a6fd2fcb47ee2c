"""What recall needs of a release's items, from the artifacts: the documents that go into Elasticsearch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_exchange_center import artifacts, wire
from data_exchange_center.columns import Columns
from data_exchange_center.dataset import Dataset
from data_exchange_center.own_ids import OwnId, OwnIds
from data_exchange_center.release_parts import read_dataset
from offline_to_online.rows.user_rows import vectors_by


@dataclass(frozen=True)
class ItemRow:
    """What recall needs of one item, and what an answer shows of it."""

    itemid: int  # the number
    own_id: OwnId
    title: str
    genres: tuple[int, ...]  # codes
    attributes: Mapping[str, Any]  # by name: a list of values, a number, or None where the item has none
    vectors: Mapping[
        str, NDArray[np.float32]
    ]  # by `vector_of(channel)`; absent where the channel was not trained on it

    def document(self) -> dict[str, Any]:
        return {
            wire.ITEM_ID: self.itemid,
            wire.ITEM_OWN_ID: self.own_id,
            wire.ITEM_TITLE: self.title,
            wire.ITEM_GENRES: list(self.genres),
            wire.ITEM_ATTRIBUTES: dict(self.attributes),
            **{field: vector.tolist() for field, vector in self.vectors.items()},
        }


def item_rows(exchange_dir: Path, numbers: tuple[int, int] | None = None) -> list[ItemRow]:
    """Every item of the artifacts, by number; or those from one number to another, both included.

    Raises ArtifactError when a file is missing.
    """
    only = None if numbers is None else [(Columns.ITEM, ">=", numbers[0]), (Columns.ITEM, "<=", numbers[1])]
    dataset, items = read_dataset(exchange_dir), artifacts.ITEMS.read(exchange_dir, only=only)
    items = items.sort_values(Columns.ITEM)
    own_ids = OwnIds(items[Columns.ITEM].tolist(), items[Columns.OWN_ID].tolist(), dataset.item_ids)
    genres = artifacts.ITEM_TERMS.read(exchange_dir, only=only).set_index(Columns.ITEM)[Columns.GENRES].to_dict()
    vectors = vectors_by(artifacts.ITEM_VECTORS.read(exchange_dir, only=only), Columns.ITEM)
    return [
        ItemRow(
            itemid=itemid,
            own_id=own_ids[itemid],
            title=title,
            genres=tuple(int(code) for code in genres.get(itemid, ())),
            attributes=shown,
            vectors=vectors.get(itemid, {}),
        )
        for itemid, title, shown in zip(
            items[Columns.ITEM].tolist(), items[Columns.TITLE], _attributes(dataset, items), strict=True
        )
    ]


def _attributes(dataset: Dataset, items: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """What an answer shows of each item beside its title, by the attributes' declared names."""
    shown_numbers = [number for number in dataset.numbers if number.shown]
    columns = [items[number.column].tolist() for number in shown_numbers]
    for terms, *values in zip(items[Columns.GENRES], *columns, strict=True):
        shown: dict[str, Any] = {attribute: [] for attribute in dataset.terms}
        for term in terms:
            attribute, value = dataset.attribute_and_value(term)
            shown[attribute].append(value)
        for number, value in zip(shown_numbers, values, strict=True):
            shown[number.name] = None if math.isnan(value) else int(value) if value.is_integer() else value
        yield shown
