"""Bundles: trained models of other libraries as folders of plain files, their format and its checks.

    model.toml          name, kind ("vectors" or "encoder"), library; of encoders: history_length
    items.parquet       id: the item's own id as text; vector (list of floats)
    users.parquet       of vectors: id, vector
    encoder.onnx        of encoders: the newest events -> the user's vector, see `extras.models.encoder`
    expected.parquet    for a sample of users the library's own lists: id, items (list of ids, best first), scores

An id is the one of the data set that the model was trained on (`make export-events`).
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import Field

from data_exchange_center.channels import Arrays, index_vectors, with_bias_dims
from data_exchange_center.errors import RecsysError
from data_exchange_center.recipes import Frozen
from extras.models import encoder

if TYPE_CHECKING:
    from offline.data.sequences import Sequences

Own = tuple[Mapping[str, int], Mapping[str, int]]  # own ids of users, of items -> row
Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
MODEL: Final = "model.toml"
ITEMS: Final = "items.parquet"
USERS: Final = "users.parquet"
ENCODER: Final = "encoder.onnx"
EXPECTED: Final = "expected.parquet"


class BundleError(RecsysError):
    """A bundle that cannot be imported: what is wrong, and in which file."""


class About(Frozen):
    """Content of model.toml."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,30}$")]
    kind: Literal["vectors", "encoder"]
    library: str
    # newest events that an encoder reads; 0: another kind
    history_length: Annotated[int, Field(ge=0)] = 0


def about(folder: Path) -> About:
    """Read model.toml. Raises BundleError."""
    path = folder / MODEL
    try:
        found = About.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise BundleError(f"{path}: {' '.join(str(error).split())}") from error
    if found.kind == "encoder" and not found.history_length:
        raise BundleError(
            f"{path}: history_length is missing: how many of the newest events the encoder reads"
        )
    return found


def read(folder: Path, about: About, past: Sequences, own: Own) -> Arrays:
    """Read and check a bundle; its arrays by the data set's numbers, as in `write_model`. Raises BundleError."""
    own_users, own_items = own
    path = folder / ITEMS
    table = _table(path, "id")
    rows = positions(path, _ids(path, table), own_items, "items")
    order = np.argsort(rows)
    numbers = past.item_numbers[rows[order]]
    vectors = _vectors(path)
    dims = vectors.shape[1]
    items = index_vectors(vectors, np.zeros(len(rows), np.float32))[order]
    if about.kind == "encoder":
        model = encoder.read_encoder(
            folder / ENCODER, about.history_length, len(rows), dims
        )
        return {
            "item_numbers": numbers,
            "items": items,
            "codes": 1 + order,
            "encoder": np.frombuffer(model, np.uint8),
        }

    path = folder / USERS
    of_users = _vectors(path)
    if of_users.shape[1] != dims:
        raise BundleError(
            f"{folder}: vectors of items have {dims} dimensions, those of users {of_users.shape[1]}"
        )
    rows = positions(path, _ids(path, _table(path, "id")), own_users, "users")
    order = np.argsort(rows)
    return {
        "item_numbers": numbers,
        "items": items,
        "user_numbers": past.user_numbers[rows[order]],
        "users": with_bias_dims(of_users)[order],
    }


def read_expected(folder: Path) -> dict[str, tuple[list[str], Float64]]:
    """Read the library's own lists: user -> items, scores. Raises BundleError."""
    path = folder / EXPECTED
    table = _table(path, "id", "items", "scores")
    found = {}
    for user, row in zip(_ids(path, table), table.to_pylist(), strict=True):
        items, scores = row["items"], np.asarray(row["scores"], np.float64)
        if not items or len(items) != len(scores) or not np.isfinite(scores).all():
            raise BundleError(
                f"{path}: user {user} needs as many finite scores as items, at least one"
            )
        found[user] = items, scores
    return found


def positions(
    path: Path, ids: Sequence[str], known: Mapping[str, int], what: str
) -> NDArray[np.int64]:
    """Position of each own id in the data set. Raises BundleError, with the first unknown ones."""
    unknown = [each for each in ids if each not in known]
    if unknown:
        raise BundleError(
            f"{path}: {len(unknown):,} of {len(ids):,} {what} are not in the data set, such as "
            f"{', '.join(map(repr, unknown[:3]))}: export what `make export-events` gave to the library"
        )
    return np.array([known[each] for each in ids], dtype=np.int64)


def _table(path: Path, *columns: str) -> pa.Table:
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise BundleError(f"{path}: cannot be read ({error})") from error
    for name in columns:
        if name not in table.column_names:
            raise BundleError(f"{path}: has no column {name!r}")
    if not table.num_rows:
        raise BundleError(f"{path}: is empty")
    return table


def _ids(path: Path, table: pa.Table) -> list[str]:
    ids: list[str] = table["id"].cast(pa.string()).to_pylist()
    if None in ids or len(set(ids)) < len(ids):
        raise BundleError(f"{path}: an id is missing or stands there twice")
    return ids


def _vectors(path: Path) -> Float32:
    """(ids, d)"""
    column = _table(path, "vector")["vector"].to_pylist()
    try:
        vectors = np.array(column, dtype=np.float32)
    except (ValueError, TypeError) as error:
        raise BundleError(
            f"{path}: all vectors need the same number of floats"
        ) from error
    if not np.isfinite(vectors).all():
        raise BundleError(f"{path}: a vector has values that are not numbers")
    return vectors
