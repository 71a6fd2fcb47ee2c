"""Bundles: trained models of other libraries as folders of plain files, their format and its checks.

    model.toml          name, kind ("vectors", "item-item" or "encoder"), library; events (rows of events.parquet that
                        it was trained on, optional); of encoders: history_length
    items.parquet       id: the item's own id as text; of vectors and encoders: vector (list of floats)
    users.parquet       of vectors: id, vector
    weights.npz         of item-item: a `scipy.sparse` matrix (items, items) in the order of items.parquet; the score of
                        a column is the sum over the rows of a user's items
    encoder.onnx        of encoders: the newest events -> the user's vector, see `extras.models.encoder`
    expected.parquet    for a sample of users the library's own lists: id, items (list of ids, best first), scores
    training/           optional: the same model, fitted on events-training.parquet alone, without expected.parquet

An id is the one of the data set that the model was trained on (`make export-events`).
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import scipy.sparse as sp
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from data_exchange_center.channels import index_vectors, query_vectors
from data_exchange_center.errors import RecsysError
from data_exchange_center.recipes import Frozen
from extras.models import encoder

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
MODEL: Final = "model.toml"
ITEMS: Final = "items.parquet"
USERS: Final = "users.parquet"
WEIGHTS: Final = "weights.npz"
ENCODER: Final = "encoder.onnx"
EXPECTED: Final = "expected.parquet"
TRAINING: Final = "training"
MAX_DIMENSIONS: Final = 4094  # two less than Elasticsearch's: `index_vectors` adds two
MAX_HISTORY: Final = 2048  # events that an encoder reads


class BundleError(RecsysError):
    """A bundle that cannot be imported: what is wrong, and in which file."""


class About(Frozen):
    """Content of model.toml."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,30}$")]
    kind: Literal["vectors", "item-item", "encoder"]
    library: str
    events: int = 0  # rows of events.parquet that the model was trained on; 0: unknown
    # newest events that an encoder reads; 0: another kind
    history_length: Annotated[int, Field(ge=1, le=MAX_HISTORY)] = 0


@dataclass(frozen=True, eq=False)
class Bundle:
    """A checked bundle. Rows of arrays are in the order of ``items`` and ``users``."""

    about: About
    items: Sequence[str]  # own ids
    users: Sequence[str] = ()  # own ids; only of vectors
    item_vectors: Float32 | None = None  # (items, d + 2), see `index_vectors`
    user_vectors: Float32 | None = None  # (users, d + 2)
    weights: sp.csr_matrix | None = None  # (items, items), of an item-item model
    encoder: bytes = b""  # the model that makes user vectors, as it is served


def read(folder: Path) -> Bundle:
    """Read and check a bundle. Raises BundleError."""
    about = _about(folder / MODEL)
    if about.kind == "item-item":
        ids = _ids(folder / ITEMS, _table(folder / ITEMS, "id"))
        return Bundle(about, ids, weights=_weights(folder / WEIGHTS, len(ids)))

    ids, vectors = _vectors(folder / ITEMS)
    dims = vectors.shape[1]
    if dims > MAX_DIMENSIONS:
        raise BundleError(
            f"{folder / ITEMS}: {dims} dimensions; at most {MAX_DIMENSIONS} are searched"
        )
    indexed = index_vectors(vectors, np.zeros(len(ids), np.float32))
    if about.kind == "encoder":
        model = encoder.read_encoder(folder / ENCODER, about, len(ids), dims)
        return Bundle(about, ids, item_vectors=indexed, encoder=model)

    users, of_users = _vectors(folder / USERS)
    if of_users.shape[1] != dims:
        raise BundleError(
            f"{folder}: vectors of items have {dims} dimensions, those of users {of_users.shape[1]}"
        )
    return Bundle(about, ids, users, indexed, query_vectors(of_users))


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


def _about(path: Path) -> About:
    try:
        about = About.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise BundleError(
            f"{path}: cannot be read ({error.strerror}); a bundle has this file"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BundleError(f"{path}: is no TOML ({error})") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise BundleError(f"{path}: {where}: {first['msg']}") from error
    if about.kind == "encoder" and not about.history_length:
        raise BundleError(
            f"{path}: history_length is missing: how many of the newest events the encoder reads"
        )
    return about


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


def _vectors(path: Path) -> tuple[list[str], Float32]:
    """Ids, and (ids, d)."""
    table = _table(path, "id", "vector")
    ids = _ids(path, table)
    ragged = BundleError(f"{path}: all vectors need the same number of floats")
    try:
        vectors = np.array(table["vector"].to_pylist(), dtype=np.float32)
    except (ValueError, TypeError) as error:
        raise ragged from error
    if vectors.ndim != 2 or not vectors.shape[1]:
        raise ragged
    finite = np.isfinite(vectors).all(axis=1)
    if not finite.all():
        raise BundleError(
            f"{path}: the vector of {ids[finite.argmin()]!r} has values that are not numbers"
        )
    return ids, vectors


def _weights(path: Path, items: int) -> sp.csr_matrix:
    try:
        weights = sp.csr_matrix(sp.load_npz(path), dtype=np.float32)
    except (OSError, ValueError, KeyError) as error:
        raise BundleError(f"{path}: is no sparse matrix of scipy ({error})") from error
    if weights.shape != (items, items):
        raise BundleError(
            f"{path}: has the shape {weights.shape}, items.parquet has {items:,} items"
        )
    if not np.isfinite(weights.data).all():
        raise BundleError(f"{path}: has values that are not numbers")
    return weights
