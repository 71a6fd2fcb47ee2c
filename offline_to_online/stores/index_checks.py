"""What the item index must hold before it may be served. Every check raises CheckError naming the row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from elasticsearch import Elasticsearch

from data_exchange_center import wire
from data_exchange_center.steps import CheckError
from offline_to_online.rows.item_rows import ItemRow

MGET: Final = 250  # documents a request


def check_documents(client: Elasticsearch, release: str, rows: Sequence[ItemRow]) -> None:
    """Every document, field by field, against its source."""
    index = wire.item_index(release)
    count = client.count(index=index)["count"]
    if count != len(rows):
        raise CheckError(f"index {index} holds {count} documents, the source {len(rows)} items")
    for start in range(0, len(rows), MGET):
        chunk = rows[start : start + MGET]
        answer = client.mget(index=index, ids=[str(row.itemid) for row in chunk])
        for row, doc in zip(chunk, answer["docs"], strict=True):
            _check_document(row, doc.get("_source"))


def _check_document(row: ItemRow, stored: Mapping[str, Any] | None) -> None:
    if stored is None:
        raise CheckError(f"item {row.own_id!r}: no document in Elasticsearch")
    wanted = row.document()
    for field in sorted(set(wanted) | set(stored)):
        got, source = stored.get(field), wanted.get(field)
        if field in row.vectors and got is not None:
            same = np.array_equal(np.asarray(got, dtype=np.float32), np.asarray(source, dtype=np.float32))
        else:
            same = got == source
        if not same:
            raise CheckError(
                f"item {row.own_id!r}, field {field!r}: Elasticsearch gave {got}, the source says {source}"
            )


def check_genres(client: Elasticsearch, release: str, rows: Sequence[ItemRow]) -> dict[int, int]:
    """For every genre code, the number of items a term query finds equals the truth's. Returns code -> items."""
    index = wire.item_index(release)
    truth: dict[int, int] = {}
    for row in rows:
        for code in row.genres:
            truth[code] = truth.get(code, 0) + 1
    for code, wanted in sorted(truth.items()):
        got = client.count(index=index, query={"term": {wire.ITEM_GENRES: code}})["count"]
        if got != wanted:
            raise CheckError(f"genre {code}: the index finds {got} items, the source has {wanted} of {len(rows)}")
    return dict(sorted(truth.items()))
