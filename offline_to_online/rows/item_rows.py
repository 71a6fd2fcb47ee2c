"""What recall needs of a release's items, from the artifacts: the documents that go into Elasticsearch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_exchange_center import artifacts, wire
from data_exchange_center.columns import Columns
from offline_to_online.rows.user_rows import vectors_by


@dataclass(frozen=True)
class ItemRow:
    """What recall needs of one item, and the title for the answer."""

    itemid: int
    title: str
    genres: tuple[int, ...]  # codes
    vectors: Mapping[
        str, NDArray[np.float32]
    ]  # by `vector_of(channel)`; absent where the channel was not trained on it

    def document(self) -> dict[str, Any]:
        return {
            wire.ITEM_ID: self.itemid,
            wire.ITEM_TITLE: self.title,
            wire.ITEM_GENRES: list(self.genres),
            **{field: vector.tolist() for field, vector in self.vectors.items()},
        }


def item_rows(exchange_dir: Path) -> list[ItemRow]:
    """Every item of the artifacts, by id. Raises ArtifactError when a file is missing."""
    titles = artifacts.ITEMS.read(exchange_dir).set_index(Columns.ITEM)[Columns.TITLE]
    genres = artifacts.ITEM_TERMS.read(exchange_dir).set_index(Columns.ITEM)[Columns.GENRES].to_dict()
    vectors = vectors_by(artifacts.ITEM_VECTORS.read(exchange_dir), Columns.ITEM)
    return [
        ItemRow(
            itemid=itemid,
            title=str(titles[itemid]),
            genres=tuple(int(code) for code in genres.get(itemid, ())),
            vectors=vectors.get(itemid, {}),
        )
        for itemid in sorted(titles.index.tolist())
    ]
